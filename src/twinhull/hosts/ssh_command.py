"""The command line of ssh: of the user's configuration, only what is needed to reach the host takes effect.

A user's ``ssh_config`` may name addresses, jump hosts, keys and ciphers. It may also lend the user's agent and screen
to every host, run commands here, open tunnels and send variables. A manager does none of that with hosts that it does
not trust. Settings on the command line win over those of a file (ssh_config(5)).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

CONNECT_SECONDS = 20

PLAIN_LANGUAGE = {"LC_ALL": "C"}
"""What programs complain of is understood by its words."""

_OURS = {
    "BatchMode": "yes",
    "ConnectTimeout": str(CONNECT_SECONDS),
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
    "LogLevel": "INFO",  # complaints are understood by their words
    # Only host keys that the user has accepted, whatever a name server says of others; their files are left alone.
    "StrictHostKeyChecking": "yes",
    "VerifyHostKeyDNS": "no",
    "NoHostAuthenticationForLocalhost": "no",
    "UpdateHostKeys": "no",
    # Nothing of the user's is lent to the host.
    "ForwardAgent": "no",
    "AddKeysToAgent": "no",
    "ForwardX11": "no",
    "ForwardX11Trusted": "no",
    "GSSAPIDelegateCredentials": "no",
    "SetEnv": "LC_ALL=C",  # in place of the user's variables
    # Nothing else is run or opened, here or there.
    "PermitLocalCommand": "no",
    "LocalCommand": "none",
    "RemoteCommand": "none",
    "RequestTTY": "no",
    "Tunnel": "no",
    "ClearAllForwardings": "yes",
    "SessionType": "default",
    "StdinNull": "no",
    "ForkAfterAuthentication": "no",
    "EscapeChar": "none",
    "VisualHostKey": "no",
    # One connection, of our own.
    "ControlMaster": "auto",
    "ControlPersist": "30",
    "StreamLocalBindUnlink": "yes",
    "StreamLocalBindMask": "0177",
}

_ENVIRONMENT = ("HOME", "PATH", "USER", "LOGNAME", "SSH_AUTH_SOCK", "KRB5CCNAME", "TMPDIR")
"""What ssh needs of our environment. A user's ``SendEnv`` cannot send what is not there, our passphrase for one."""


@dataclass(frozen=True, slots=True)
class SshTarget:
    """A host behind ssh. Host keys are always verified against ``known_hosts`` (None: the user's own file)."""

    host: str
    user: str = ""
    port: int = 22
    key_path: str | None = None
    known_hosts: str | None = None

    @property
    def address(self) -> str:
        """``user@host``."""
        return f"{self.user}@{self.host}" if self.user else self.host


def ssh_target(uri: str) -> SshTarget | None:
    """The ssh part of a libvirt URI (``qemu+ssh://``, ``xen+ssh://``), or None if it names this machine."""
    parts = urlsplit(uri)
    if "+ssh" not in parts.scheme or not parts.hostname:
        return None
    query: Mapping[str, list[str]] = parse_qs(parts.query)
    return SshTarget(
        parts.hostname,
        parts.username or "",
        parts.port or 22,
        next(iter(query.get("keyfile", [])), None),
        next(iter(query.get("known_hosts", [])), None),
    )


def ssh_command(target: SshTarget, control_path: str) -> list[str]:
    """Ssh's command line up to the host; what follows is run there."""
    command = ["ssh", "-p", str(target.port), *(f"-o{name}={value}" for name, value in _OURS.items())]
    command += [f"-oControlPath={_quoted(control_path)}"]
    if target.key_path:
        command += ["-i", target.key_path, "-oIdentitiesOnly=yes"]
    if target.known_hosts:
        command += [f"-oUserKnownHostsFile={_quoted(target.known_hosts)}", "-oGlobalKnownHostsFile=/dev/null"]
        command += ["-oKnownHostsCommand=none"]
    return [*command, "--", target.address]


def control_command(target: SshTarget, control_path: str, order: str, *arguments: str) -> list[str]:
    """Ssh's command line for an order to our own end of the connection; no configuration adds to it."""
    path = f"-oControlPath={_quoted(control_path)}"
    return ["ssh", "-F", "none", "-O", order, path, "-oStreamLocalBindMask=0177", *arguments, "--", target.address]


def ssh_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment in which ssh runs."""
    return {name: environment[name] for name in _ENVIRONMENT if name in environment} | PLAIN_LANGUAGE


def _quoted(path: str) -> str:
    """A path as ssh reads it in a setting, where it would split it at spaces and look for its own tokens."""
    return '"' + path.replace("%", "%%") + '"'
