"""What of a user's ssh configuration takes effect: what reaches the host, and nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

from twinhull.hosts.ssh_command import SshTarget, control_command, ssh_command, ssh_environment

HOSTILE = """
Host *
  ForwardAgent yes
  AddKeysToAgent yes
  ForwardX11 yes
  ForwardX11Trusted yes
  GSSAPIDelegateCredentials yes
  PermitLocalCommand yes
  LocalCommand touch /tmp/pwned
  RemoteCommand touch /tmp/pwned
  RequestTTY force
  Tunnel yes
  LocalForward 2222 localhost:22
  RemoteForward 2223 localhost:22
  DynamicForward 1080
  SessionType none
  StdinNull yes
  ForkAfterAuthentication yes
  EscapeChar ~
  SetEnv SECRET=1
  ControlMaster no
  ControlPath /tmp/others
  ControlPersist yes
  StrictHostKeyChecking no
  VerifyHostKeyDNS yes
  NoHostAuthenticationForLocalhost yes
  UpdateHostKeys yes
  KnownHostsCommand /bin/echo anything
  LogLevel QUIET
  BatchMode no
  ProxyJump gate
  User someone
  HostName 192.0.2.1
"""

HARMLESS = {
    "forwardagent": "no",
    "addkeystoagent": "false",
    "forwardx11": "no",
    "forwardx11trusted": "no",
    "gssapidelegatecredentials": "no",
    "permitlocalcommand": "no",
    "requesttty": "false",
    "tunnel": "false",
    "clearallforwardings": "yes",
    "sessiontype": "default",
    "stdinnull": "no",
    "forkafterauthentication": "no",
    "escapechar": "none",
    "setenv": "LC_ALL=C",
    "controlmaster": "auto",
    "controlpath": "/run/c",
    "controlpersist": "30",
    "stricthostkeychecking": "true",
    "verifyhostkeydns": "false",
    "nohostauthenticationforlocalhost": "no",
    "updatehostkeys": "false",
    "loglevel": "INFO",
    "batchmode": "yes",
}


def _understood(command: list[str], *options: str) -> dict[str, str]:
    done = subprocess.run(["ssh", "-G", *options, *command[1:]], check=True, capture_output=True, text=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


def test_a_user_s_configuration_reaches_the_host_and_lends_it_nothing(tmp_path: Path) -> None:
    hostile = tmp_path / "config"
    hostile.write_text(HOSTILE)
    alone = _understood(["ssh", "alpha"], "-F", str(hostile))
    settings = _understood(ssh_command(SshTarget("alpha"), "/run/c"), "-F", str(hostile))
    unlike = {name for name, value in HARMLESS.items() if alone.get(name) == value}
    assert not unlike, "the configuration tries nothing there"
    assert {name: settings.get(name) for name in HARMLESS} == HARMLESS
    assert not {"localforward", "remoteforward", "dynamicforward", "remotecommand", "localcommand"} & {
        name for name, value in settings.items() if value != "none"
    }
    assert (settings["proxyjump"], settings["user"], settings["hostname"]) == ("gate", "someone", "192.0.2.1")


def test_named_host_keys_are_the_only_ones(tmp_path: Path) -> None:
    hostile = tmp_path / "config"
    hostile.write_text(HOSTILE)
    target = SshTarget("alpha", known_hosts="/keys")
    settings = _understood(ssh_command(target, "/run/c"), "-F", str(hostile))
    assert settings["userknownhostsfile"] == "/keys"
    assert settings["globalknownhostsfile"] == "/dev/null"
    assert settings.get("knownhostscommand", "none") == "none"


def test_an_order_to_our_own_connection_reads_no_configuration() -> None:
    command = control_command(SshTarget("alpha"), "/run/c", "forward", "-L", "/a:/b")
    assert command[:5] == ["ssh", "-F", "none", "-O", "forward"]
    assert command[-4:] == ["-L", "/a:/b", "--", "alpha"]
    assert _understood([*command[:3], *command[5:]])["controlpath"] == "/run/c"


def test_ssh_has_nothing_in_its_environment_that_a_user_s_setting_could_send() -> None:
    ours = {"HOME": "/root", "SSH_AUTH_SOCK": "/a", "TWINHULL_PASSPHRASE": "secret", "AWS_SECRET_ACCESS_KEY": "secret"}
    assert ssh_environment(ours) == {"HOME": "/root", "SSH_AUTH_SOCK": "/a", "LC_ALL": "C"}
