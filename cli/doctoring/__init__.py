"""What `xmg doctor` looks at: packages, devices, disks and caches, each said as a finding."""
