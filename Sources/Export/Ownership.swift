import Glibc
package import SystemPackage
package import P2PFSWire

/// Whose a file or directory is, and who else may change it, which never travels.
package struct Ownership: Sendable {
  /// The owner's number.
  package let user: UInt32
  private let mode: UInt32

  /// Of what is open, with O_PATH, too.
  package init(_ descriptor: borrowing Descriptor) throws(Errno) {
    var status = stat()
    try check(fstat(descriptor.rawValue, &status))
    (user, mode) = (status.st_uid, status.st_mode)
  }

  /// Whether others than its owner may write it.
  package var isWritableForOthers: Bool { mode & 0o022 != 0 }

  /// Of a directory: whether everybody may make something in it.
  package var isForAll: Bool { mode & 0o002 != 0 }
}

extension ConfinedDirectory {
  /// The ownership of what is at `path`.
  package func ownership(at path: Path) throws(Errno) -> Ownership { try Ownership(object(at: path)) }
}
