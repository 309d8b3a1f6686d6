import P2PFSCore
import P2PFSSession
import Synchronization
import P2PFSWire

/// The count of what a source holds, on a thread of its own: it takes long for a large tree, so the other side is met
/// meanwhile.
package final class TransferCount: Sendable {
  private let result = Monitor<Result<Counted, TransferFailure>?>(nil)
  private let isStopped = Atomic<Bool>(false)

  /// Begins to count.
  package init(of source: TransferSource) {
    FileThread.start { [self] in
      let counted = Result { () throws(TransferFailure) in
        try source.count { !isStopped.load(ordering: .relaxed) }
      }
      result.change { if $0 == nil { $0 = counted } }
    }
  }

  /// It is not wanted any more, and nobody waits for it longer.
  package func stop() {
    isStopped.store(true, ordering: .relaxed)
    result.change { if $0 == nil { $0 = .failure(.channel(.cancelled)) } }
  }

  /// Waits for the result, on a thread that may.
  func wait() throws(TransferFailure) -> Counted { try result.wait { $0 }.get() }
}

/// What a source held when it was counted: what is offered, and no more is sent.
struct Counted: Sendable {
  private(set) var offer = TransferMessage.Offer()
  /// What each entry was, by the hash of its path: a path would take ten times as much, and two of one hash would cost
  /// no more than a file that is sent the next time.
  private var seen: [Int: Int64] = [:]

  /// A count that begins, of these names at the top.
  init(names: [[UInt8]]) {
    offer.tops = UInt64(names.count)
    offer.names = Array(names.prefix(Limits.Transfer.names))
  }

  /// Counts an entry.
  /// - Throws: if it is more than can be sent at once.
  mutating func add(_ entry: TransferEntry) throws(TransferFailure) {
    switch entry.kind {
    case .directory: offer.directories += 1
    case .link: offer.links += 1
    case .file(let size):
      offer.files += 1
      guard size <= Limits.Wire.fileSize - offer.bytes else { throw .local("the files are too large together") }
      offer.bytes += size
    }
    guard offer.entries <= Limits.Transfer.entries else {
      throw .local("more than \(Limits.Transfer.entries) files at once; send them in parts, or pack them with tar")
    }
    seen[entry.path.hashValue] = Self.word(for: entry.kind)
  }

  /// Why an entry that is there now was not offered; nil if it was. It may have become smaller.
  func objection(to entry: TransferEntry) -> String? {
    guard let before = seen[entry.path.hashValue] else { return "it has come since it was offered" }
    let now = Self.word(for: entry.kind)
    guard before >= 0, now >= 0 else { return before == now ? nil : "it has changed since it was offered" }
    return now <= before ? nil : "it has grown since it was offered"
  }

  /// The size of a file; something negative for what has none.
  private static func word(for kind: TransferEntry.Kind) -> Int64 {
    switch kind {
    case .file(let size): size
    case .directory: -1
    case .link: -2
    }
  }
}
