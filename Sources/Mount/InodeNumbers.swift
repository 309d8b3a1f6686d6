import P2PFSWire

/// Makes `st_ino` out of the identity that the peer tells.
///
/// On the filesystem of the root it is the peer's own number, so that it survives a remount and programs that remember
/// it (git, borg) read nothing again. On filesystems that are mounted inside, whose numbers may be the same, it is
/// mixed with the device.
struct InodeNumbers {
  /// The device of the root.
  let device: UInt64

  /// The number that a file shows.
  func number(_ identity: FileIdentity) -> UInt64 {
    // readdir(3) skips entries without a number.
    guard identity.device == device, identity.inode != 0 else {
      return InodeNumbers.mix(identity.inode ^ InodeNumbers.mix(identity.device)) | 1 << 63
    }
    return identity.inode
  }

  /// The number of a directory that claims to be one of those above it: another one, or walks of the tree would go
  /// wrong.
  func number(ofImpostor node: UInt64) -> UInt64 { InodeNumbers.mix(~node) | 1 << 63 }

  /// SplitMix64's finaliser: a permutation of the 64-bit numbers.
  private static func mix(_ value: UInt64) -> UInt64 {
    var mixed = value &+ 0x9e37_79b9_7f4a_7c15
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}
