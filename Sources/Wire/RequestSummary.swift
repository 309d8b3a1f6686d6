package import P2PFSCore

/// What a session and the exporter's queue need to know of a request before it is decoded, read off the message in
/// place. Only this layer knows where it stands.
///
/// It never fails: a request that breaks the format is found out when it is decoded.
package struct RequestSummary: Sendable, Equatable {
  /// The operation; nil if its number is unknown.
  package let operation: Operation?
  /// Length of the message in bytes.
  package let messageBytes: Int
  /// Bytes of it that are the data of a write or an append.
  package let dataBytes: Int
  /// How many bytes the answer may have, for the operations whose answers are long; else 0.
  package let answerBytes: Int

  /// Whether doing it twice differs from doing it once. Unknown operations change nothing: they are refused.
  package var changes: Bool { operation?.changes ?? false }

  /// What stands before the data of a write: header, handle and offset.
  private static let writePrefix = Header.length + 16

  /// Reads a request whose header names this operation.
  package init(of request: Frame, operation number: UInt8) {
    operation = Operation(rawValue: number)
    messageBytes = request.count
    dataBytes =
      switch operation {
      case .write: max(0, request.count - RequestSummary.writePrefix)
      case .append: max(0, request.count - Request.appendPrefix)
      default: 0
      }
    answerBytes =
      switch operation {
      case .list: Limits.Wire.listing
      case .readlink: Limits.Wire.linkTarget
      case .read, .open: RequestSummary.wanted(request)
      default: 0
      }
  }

  /// Reads a request of this program, which has a header.
  package init(of request: Frame) {
    precondition(request.count >= Header.length, "a request has a header")
    self.init(of: request, operation: request.bytes[1])
  }

  /// The last four bytes of a read and of an open say how much is wanted.
  private static func wanted(_ request: Frame) -> Int {
    guard request.count >= Header.length + 4 else { return 0 }
    let count = request.bytes.loadUnaligned(fromByteOffset: request.count - 4, as: UInt32.self)
    return min(Int(UInt32(littleEndian: count)), Limits.Wire.read)
  }
}

/// Which handle a request uses, read off the message: the order of requests is decided when they arrive.
package struct HandleUse: Sendable, Equatable {
  /// The handle.
  package let handle: UInt64
  /// Whether the request runs alone among those of this handle.
  package let isExclusive: Bool

  /// Fails if the request, whose header names this operation, uses no handle, or breaks the format.
  package init?(of request: Frame, operation number: UInt8) {
    guard let operation = Operation(rawValue: number) else { return nil }
    var body = Header.length
    switch operation {
    case .lookup, .setattr, .link:
      // The target: its kind, 1 for a handle, then the handle.
      guard request.count > body, request.bytes[body] == 1 else { return nil }
      body += 1
    case .list, .create, .open, .reopen, .read, .write, .append, .flush, .fsync, .close, .seek, .allocate: break
    case .readlink, .symlink, .mkdir, .mknod, .unlink, .rmdir, .rename, .statfs: return nil
    }
    var opensAgain = false
    if operation == .open, request.count >= body + 17, request.bytes[body + 8] == 1 {
      // The file that is opened once more must not be closed meanwhile; the new handle is nobody's until the answer.
      body += 9
      opensAgain = true
    }
    guard request.count - body >= 8 else { return nil }
    handle = UInt64(littleEndian: request.bytes.loadUnaligned(fromByteOffset: body, as: UInt64.self))
    let isShared =
      switch operation {
      case .lookup, .link, .read, .fsync, .seek: true
      default: false
      }
    isExclusive = !(isShared || opensAgain)
  }
}
