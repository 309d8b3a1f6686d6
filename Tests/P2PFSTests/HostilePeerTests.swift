import P2PFSCore
import Rig
import P2PFSSession
import Synchronization
import SystemPackage
import Testing
import P2PFSWire

@testable import P2PFS

/// A peer whose answers need not be decent, over a link in memory.
@Suite(.onThreads, .timeLimit(.minutes(5))) struct HostilePeerTests {
  /// Serves what the test says.
  private final class Script: Responder {
    typealias Body = @Sendable (Request, Exchange) -> Void
    let isReadOnly = true
    private let body: Body
    init(_ body: @escaping Body) { self.body = body }

    func serve(_ request: Frame, _ exchange: Exchange) {
      var reader = Reader(request, from: Header.length)
      guard let decoded = try? Request(operation: exchange.header.operation, &reader) else {
        return exchange.fail(.noFunction)
      }
      body(decoded, exchange)
    }
    func end() {}
  }

  /// Runs `test` with the files of a peer that answers as `script` says.
  private func files(_ script: @escaping Script.Body, _ test: (PeerFiles) async throws -> Void) async throws {
    let identity = [UInt8](repeating: 1, count: 16)
    let (asker, peer) = (
      Session(.init(identity: identity)), Session(.init(identity: identity), responder: Script(script))
    )
    let (one, other) = MemoryLink.pair()
    asker.connect(one)
    peer.connect(other)
    #expect(await comesTrue { asker.isOnline && peer.isOnline })
    try await test(PeerFiles(asker))
    asker.end()
    peer.end()
    withExtendedLifetime((one, other)) {}
  }

  private static func attributes(_ type: P2PFSWire.FileType, size: Int64 = 0) -> Attributes {
    let time = Timestamp(seconds: .max, nanoseconds: 1)
    return Attributes(
      mode: type.rawValue | 0o6755, links: 1, identity: FileIdentity(device: 1, inode: 1, generation: 0), size: size,
      blocks: 0, accessed: time,
      modified: time,
      changed: time, rights: [.read, .write, .execute, .owner])
  }

  private static func page(
    _ exchange: Exchange, _ names: [String], next: UInt64 = 0, isEnd: Bool = true, _ attributes: Attributes? = nil
  ) {
    let page = Frame.listing(for: exchange.header)
    for name in names { page.write(entry: Array(name.utf8), attributes: attributes) }
    page.finishListing(next: next, isEnd: isEnd, more: false)
    exchange.reply(page)
  }

  private static func opened(_ exchange: Exchange, _ attributes: Attributes) {
    let frame = Frame.reply(to: exchange.header, body: Attributes.length)
    attributes.write(to: frame)
    exchange.reply(frame)
  }

  private static func piece(_ exchange: Exchange, _ offset: Int64, _ count: Int, isLast: Bool = true) {
    let frame = Frame.piece(
      for: exchange.header, offset: offset, version: Self.attributes(.regular).version, more: !isLast, room: count)
    frame.count += count
    exchange.reply(frame, isLast: isLast, on: .bulk)
  }

  @Test func `names that cannot be are left out of a listing, and doubles`() async throws {
    try await files { _, exchange in
      let names = [
        "good", "..", ".", "", "a/b", "/etc", "good", "nul\0", String(repeating: "x", count: 256), "\u{1b}[31m",
      ]
      Self.page(exchange, names, Self.attributes(.regular, size: 5))
    } _: { files in
      let entries = try await files.list()
      #expect(entries.map(\.name) == ["good", "\u{1b}[31m"])
      #expect(entries[0].attributes?.permissions == 0o755)
      // Times far out of the ordinary do not trap.
      #expect((entries[0].attributes?.modifiedSince1970 ?? .zero) > .seconds(1 << 59))
    }
  }

  @Test func `a listing without an end ends with an error`() async throws {
    let asked = Counter()
    try await files { request, exchange in
      guard case .list = request else { return exchange.fail(.noFunction) }
      asked.add()
      Self.page(exchange, ["again"], next: UInt64(asked.value), isEnd: false)
    } _: { files in
      let error = await expect(.file) { _ = try await files.list() }
      #expect(error?.errno == Errno.ioError.rawValue)
      #expect(asked.value <= Limits.Library.emptyPages + 2)
    }
  }

  @Test func `attributes that cannot be are an error`() async throws {
    try await files { _, exchange in
      let frame = Frame.reply(to: exchange.header, body: Attributes.length)
      for _ in 0..<Attributes.length { frame.write(0xFF as UInt8) }
      exchange.reply(frame)
    } _: { files in
      await expect(.file) { _ = try await files.attributes(of: "x") }
      await expect(.file) { for try await _ in files.read("x") {} }
      await expect(.file) { _ = try await files.list() }
    }
  }

  @Test(arguments: [(Int64(1), 10), (0, 32_769), (Int64.max, 1), (262_144, 10)])
  func `contents that were not asked for are an error`(offset: Int64, count: Int) async throws {
    try await files { request, exchange in
      switch request {
      case .open: Self.opened(exchange, Self.attributes(.regular, size: 1 << 60))
      case .read: Self.piece(exchange, offset, count)
      default: exchange.fail(.noFunction)
      }
    } _: { files in
      let error = await expect(.file) { for try await _ in files.read("x") {} }
      #expect(error?.errno == Errno.ioError.rawValue)
    }
  }

  @Test func `more than was asked for does not arrive`() async throws {
    try await files { request, exchange in
      switch request {
      case .open: Self.opened(exchange, Self.attributes(.regular, size: 100))
      case .read(_, let offset, _):
        // Ten pieces of the largest size, of which eight were asked for.
        for number in 0..<10 { Self.piece(exchange, offset + Int64(number) * 32_768, 32_768, isLast: number == 9) }
      default: exchange.fail(.noFunction)
      }
    } _: { files in
      let total = Counter()
      await expect(.file) { for try await chunk in files.read("x") { total.add(chunk.count) } }
      #expect(total.value <= 262_144)
    }
  }

  @Test func `directories, devices and the like are not read`() async throws {
    for (type, error) in [(P2PFSWire.FileType.directory, Errno.isDirectory), (.fifo, .invalidArgument)] {
      try await files { request, exchange in
        if case .open = request { Self.opened(exchange, Self.attributes(type)) } else { Self.piece(exchange, 0, 10) }
      } _: { files in
        let failure = await expect(.file) { for try await _ in files.read("x") {} }
        #expect(failure?.errno == error.rawValue)
      }
    }
  }

  @Test func `no answer does not keep a task that is cancelled`() async throws {
    try await files { _, _ in
    } _: { files in
      let tasks = [
        Task { await expect(.cancelled) { _ = try await files.list() } },
        Task { await expect(.cancelled) { for try await _ in files.read("x") {} } },
        Task { await expect(.cancelled) { _ = try await files.attributes(of: "x") } },
      ]
      try await Task.sleep(for: .milliseconds(100))
      for task in tasks { task.cancel() }
      for task in tasks { _ = await task.value }
    }
  }
}
