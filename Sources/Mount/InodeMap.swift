import Wire

/// Makes `st_ino` out of what the peer says: links to one file share it, and it stays the same as long as the
/// file, without a table that grows. Directories never share one, whatever the peer says: a directory that claims
/// to be its own parent would make walks of the tree go wrong.
struct InodeMap {
  private let seed: UInt64
  private var directories: [UInt64: UInt64] = [:]

  init(seed: UInt64) { self.seed = seed }

  /// The number for a new node.
  mutating func number(_ remote: RemoteFile, node: UInt64) -> UInt64 {
    let number = number(remote)
    guard remote.type == .directory else { return number }
    if directories[number] == nil {
      directories[number] = node
      return number
    }
    return InodeMap.mix(node ^ InodeMap.mix(~seed)) | 1 << 63
  }

  /// The number that a file shows as, without a node for it.
  func number(_ remote: RemoteFile) -> UInt64 {
    let mixed = InodeMap.mix(remote.inode ^ InodeMap.mix(remote.device ^ seed)) & ~(1 << 63)
    return mixed <= 1 ? mixed + 2 : mixed
  }

  /// A node is gone.
  mutating func release(_ number: UInt64, node: UInt64) {
    if directories[number] == node { directories[number] = nil }
  }

  /// SplitMix64's finaliser: a permutation of the 64-bit numbers.
  private static func mix(_ value: UInt64) -> UInt64 {
    var mixed = value &+ 0x9e37_79b9_7f4a_7c15
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}
