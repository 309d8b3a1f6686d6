import P2PFSCore
import P2PFSSession
import Synchronization
import P2PFSWire

/// Counts the files of a source on a thread of its own: a large tree takes long, and the peer is met meanwhile.
package final class TransferCount: Sendable {
  private let result = Monitor<Result<Counted, TransferFailure>?>(nil)
  private let isStopped = Atomic<Bool>(false)

  /// Starts counting.
  package init(of source: TransferSource) {
    FileThread.start { [self] in
      let counted = Result { () throws(TransferFailure) in
        try source.count { !isStopped.load(ordering: .relaxed) }
      }
      result.change { if $0 == nil { $0 = counted } }
    }
  }

  /// Stops counting, and ends all waits for the result.
  package func stop() {
    isStopped.store(true, ordering: .relaxed)
    result.change { if $0 == nil { $0 = .failure(.channel(.cancelled)) } }
  }

  /// Waits for the result. Blocks the thread.
  func wait() throws(TransferFailure) -> Counted { try result.wait { $0 }.get() }
}

/// The result of counting a source: the offer, and the limit of what is sent.
struct Counted: Sendable {
  private(set) var offer = TransferMessage.Offer()
  /// The kind of each entry by the hash of its path. A path would need ten times the memory; two paths with one hash
  /// only cause a file to be left out until the next time.
  private var seen: [Int: Int64] = [:]

  /// An empty count with these top-level names.
  init(names: [[UInt8]]) {
    offer.tops = UInt64(names.count)
    offer.names = Array(names.prefix(Limits.Transfer.names))
  }

  /// Counts an entry.
  /// - Throws: if there are more entries than one transfer may have.
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

  /// The reason why an existing entry was not offered; nil if it was. It may have become smaller.
  func objection(to entry: TransferEntry) -> String? {
    guard let before = seen[entry.path.hashValue] else { return "it has come since it was offered" }
    let now = Self.word(for: entry.kind)
    guard before >= 0, now >= 0 else { return before == now ? nil : "it has changed since it was offered" }
    return now <= before ? nil : "it has grown since it was offered"
  }

  /// The size of a file; a negative number for other kinds.
  private static func word(for kind: TransferEntry.Kind) -> Int64 {
    switch kind {
    case .file(let size): size
    case .directory: -1
    case .link: -2
    }
  }
}
