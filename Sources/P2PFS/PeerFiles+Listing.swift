import P2PFSCore
import Glibc
import P2PFSSession
import Synchronization
import SystemPackage
import P2PFSWire

extension PeerFiles {
  /// A listing on its way. The peer's names are checked one by one: what cannot be a name, or comes twice, is left out.
  private struct Pages {
    let directory: Path
    var entries: [Entry] = []
    var names: Set<[UInt8]> = []
    var next: UInt64 = 0
    var isEnd = false
    var emptyPages = 0

    /// Adds a page.
    mutating func take(_ page: Listing) throws(Errno) {
      let before = entries.count
      for entry in page.entries {
        guard let location = try? directory.appending(entry.name), names.insert(entry.name).inserted else { continue }
        entries.append(
          Entry(
            name: String(decoding: entry.name, as: UTF8.self), attributes: entry.attributes.map(Attributes.init),
            location: location))
      }
      next = page.next
      isEnd = isEnd || page.isEnd
      emptyPages = entries.count == before ? emptyPages + 1 : 0
      guard entries.count <= Limits.Library.listing else { throw Errno(rawValue: EOVERFLOW) }
      guard emptyPages <= Limits.Library.emptyPages else { throw .ioError }
    }
  }

  /// The entries of a directory, page by page.
  func entries(of directory: Path) async throws(PeerError) -> [Entry] {
    let pages = Shared(Pages(directory: directory))
    let handle = requester.newHandle()
    var hasBegun = false
    do throws(PeerError) {
      while !pages.value.withLock({ $0.isEnd }) {
        let cookie = pages.value.withLock { $0.next }
        try await ask(.list(handle, directory, cookie: cookie), about: directory) { reply throws(Errno) in
          guard let page = try? reply.listing() else { throw .ioError }
          let result = pages.value.withLock { pages in Result { () throws(Errno) in try pages.take(page) } }
          try result.get()
        }
        hasBegun = true
      }
    } catch {
      // The page that reaches the end would have closed it.
      if hasBegun || error.code == .cancelled || error.errno == EOVERFLOW { requester.close(handle) }
      throw error
    }
    return pages.value.withLock { $0.entries }
  }

  /// A value that another thread fills in.
  private final class Shared<Value: Sendable>: Sendable {
    let value: Mutex<Value>
    init(_ value: Value) { self.value = Mutex(value) }
  }

  /// One value that another thread finds.
  final class Found<Value: Sendable>: Sendable {
    private let found = Mutex<Value?>(nil)
    /// What was found.
    var value: Value? { found.withLock { $0 } }
    /// It was found.
    func set(_ value: Value) { found.withLock { $0 = value } }
  }
}
