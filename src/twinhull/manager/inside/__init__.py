"""Looking into a machine's disks without starting it: partitions, ext4, and what would keep it from booting elsewhere.

It reads from a restore point, so nothing on any site is touched. What it cannot read (LVM, other file systems) it says.
"""
