"""What every platform that libvirt drives has in common; each platform's own folder holds only what is different.

In reading order: ``connection`` (a libvirt connection that stays usable), ``place`` (where, and what lies where there),
``domains`` (what libvirt's XML says, in our words), ``finding`` (a machine's handle and its power), ``power`` (the
switch), ``images`` (disk images and the trackers in them), ``holding`` (locks and scratch directories), ``opened`` and
``stopped`` (capturing a machine that is off), ``replicas`` (the powered-off twin), ``site`` (the contract's words, each
handed to who knows).
"""
