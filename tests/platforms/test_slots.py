"""Where devices are plugged in, as libvirt writes it."""

from __future__ import annotations

from twinhull.platforms.libvirt.definition.slots import read_slots
from twinhull.platforms.libvirt.definition.xml import parse_xml

XML = """
<domain><devices>
  <disk type='file' device='disk'><target dev='vda' bus='virtio'/>
    <address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/></disk>
  <disk type='file' device='disk'><target dev='sda' bus='scsi'/>
    <address type='drive' controller='0' bus='0' target='0' unit='1'/></disk>
  <disk type='file' device='disk'><target dev='vdb' bus='virtio'/></disk>
  <controller type='pci' index='0' model='pcie-root'/>
  <controller type='pci' index='2' model='pcie-root-port'><address type='pci' bus='0x00' slot='0x12'/></controller>
  <controller type='pci' index='1' model='pcie-root-port'><address type='pci' bus='0x00' slot='0x02'/></controller>
  <controller type='pci' index='3' model='pcie-to-pci-bridge'><address type='pci' bus='0x01' slot='0x00'/></controller>
  <controller type='scsi' index='0'><address type='pci' bus='0x00' slot='0x05'/></controller>
  <controller type='usb' index='0'><address type='pci' bus='0x00' slot='0x1d'/></controller>
  <interface type='user'><mac address='52:54:00:AB:00:01'/><address type='pci' bus='0x01' slot='0x00'/></interface>
</devices></domain>
"""


def test_each_device_with_an_address_has_a_slot() -> None:
    assert read_slots(parse_xml(XML)) == {
        "disk vda": "bus=0x04 domain=0x0000 function=0x0 slot=0x00 type=pci",
        "disk sda": "bus=0 controller=0 target=0 type=drive unit=1",
        "controller scsi 0": "bus=0x00 slot=0x05 type=pci",
        "bridge 1": "bus=0x00 place=0",
        "bridge 2": "bus=0x00 place=1",
        "bridge 3": "bus=0x01 place=0",
        "card 52:54:00:ab:00:01": "bus=0x01 slot=0x00 type=pci",
    }
