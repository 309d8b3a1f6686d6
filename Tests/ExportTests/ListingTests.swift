import CP2PFSLinux
import P2PFSCore
import Glibc
import Rig
import P2PFSSession
import Synchronization
import SystemPackage
import Testing
import P2PFSWire

@testable import P2PFSExport

/// What a thread of a test found.
final class ThreadResult: Sendable {
  private let state = Mutex((escaped: CInt(-1), error: CInt(0), allowed: CInt(-1)))
  var values: (escaped: CInt, error: CInt, allowed: CInt) { state.withLock { $0 } }
  func set(escaped: CInt, error: CInt, allowed: CInt) { state.withLock { $0 = (escaped, error, allowed) } }
}

@Suite(.onThreads) struct ListingTests {
  private func fill(_ e: Exported, _ count: Int) throws {
    let directory = try Descriptor(p2pfs_openat(AT_FDCWD, e.directory.path.string, O_RDONLY | O_DIRECTORY, 0))
    for number in 0..<count {
      guard mknodat(directory.rawValue, "entry-\(number)", S_IFREG | 0o644, 0) == 0 else {
        throw Errno(rawValue: errno)
      }
    }
  }

  @Test func `a large directory comes whole, page by page, within bounds`() throws {
    let e = try Exported()
    try fill(e, 20_000)
    let handle = e.peer.newHandle()
    var names: Set<[UInt8]> = []
    var (cookie, requests, isEnd) = (UInt64(0), 0, false)
    while !isEnd {
      let answer = try e.peer.done(.list(handle, .root, cookie: cookie))
      requests += 1
      #expect(answer.replies.reduce(0) { $0 + $1.reply.body.count } <= Limits.Wire.listing)
      for (reply, _) in answer.replies {
        let page = try reply.listing()
        #expect(page.entries.allSatisfy { $0.attributes?.type == .regular })
        for entry in page.entries { #expect(names.insert(entry.name).inserted) }
        (cookie, isEnd) = (page.next, page.isEnd)
      }
    }
    #expect(names.count == 20_000)
    #expect(requests > 3)
    #expect(try e.peer.error(.close(handle)) == .badFileDescriptor)
  }

  @Test func `a listing goes on where it was, though it was closed meanwhile`() throws {
    let e = try Exported()
    try fill(e, 12_000)
    let handle = e.peer.newHandle()
    func page(_ cookie: UInt64) throws -> (names: [[UInt8]], next: UInt64) {
      let pages = try e.peer.done(.list(handle, .root, cookie: cookie)).replies.map { try $0.reply.listing() }
      return (pages.flatMap { $0.entries.map(\.name) }, pages.last?.next ?? 0)
    }
    let first = try page(0)
    let second = try page(first.next)
    // The same page once more, as after a reconnection.
    #expect(try page(first.next).names == second.names)
    // More listings than are kept open.
    for _ in 0..<(Limits.Export.listings + 5) {
      try e.peer.done(.list(e.peer.newHandle(), .root, cookie: 0))
    }
    #expect(try page(first.next).names == second.names)
    try e.peer.done(.close(handle))
    #expect(try page(first.next).names == second.names)
    #expect(Set(first.names).isDisjoint(with: second.names))
    try e.peer.done(.fsync(handle, dataOnly: false))
    #expect(try e.peer.error(.list(handle, .root, cookie: UInt64.max)) == .invalidArgument)
  }

  @Test func `listings of what is no directory are refused`() throws {
    let e = try Exported()
    try place("x", at: e.local("f"))
    #expect(try e.peer.error(.list(e.peer.newHandle(), path("f"), cookie: 0)) == .notDirectory)
    #expect(try e.peer.error(.list(e.peer.newHandle(), path("no"), cookie: 0)) == .noSuchFileOrDirectory)
  }

  @Test func `an entry that vanishes while it is listed has no attributes`() throws {
    let e = try Exported()
    try fill(e, 10)
    guard let opened = try e.share.directory.openDirectory(Place(.root)) else { throw Errno.notPermitted }
    let listing = try DirectoryReader(opened)
    #expect(throws: Errno.noSuchFileOrDirectory) {
      try listing.file.withDescriptor { file throws(Errno) in
        _ = try e.share.directory.attributes(of: "gone", in: file, on: 0, isRemote: false)
      }
    }
  }
}

@Suite(.onThreads) struct FuzzTests {
  /// Every request, mutated in some bytes: each is answered, none traps, nothing outside is touched.
  @Test func `mutated requests are answered and confined`() throws {
    let e = try Exported()
    let canary = try Canary()
    #expect(Glibc.symlink(canary.outside.path.string, e.local("good").string) == 0)
    #expect(mkdir(e.local("d").string, 0o755) == 0)
    try place("x", at: e.local("d/f"))
    var random = SplitMix(state: 0x5eed)
    let seeds =
      Forged.frames(path: Array("d/f".utf8), good: Array("good/x".utf8), handle: 1)
      + [
        Request.read(Handle(rawValue: 2), offset: 0, count: 100), .fsync(Handle(rawValue: 1), dataOnly: true),
        .write(Handle(rawValue: 2), offset: 3, slice([1, 2, 3])), .close(Handle(rawValue: 1)),
        .seek(Handle(rawValue: 3), offset: 0, .hole), .allocate(Handle(rawValue: 2), offset: 0, count: 9, mode: 1),
      ].map { $0.encoded() }
    var pending: [UInt64] = []
    // Parts of appends are answered with the last one, if that comes.
    var parts: [UInt64] = []
    for _ in 0..<100_000 {
      let seed = seeds[Int(random.next() % UInt64(seeds.count))]
      var bytes = withExtendedLifetime(seed) { Array(seed.bytes) }
      for _ in 0...(random.next() % 4) {
        switch random.next() % 4 {
        case 0:
          bytes[Header.length + Int(random.next() % UInt64(bytes.count - Header.length))] = UInt8(
            truncatingIfNeeded: random.next())
        case 1: bytes[1] = UInt8(truncatingIfNeeded: random.next() % 24)
        case 2 where bytes.count > Header.length + 1: bytes.removeLast(1)
        case 3: bytes.append(UInt8(truncatingIfNeeded: random.next()))
        default: break
        }
      }
      // No file of a size that fills the disk: neither allocation nor truncation far out.
      if bytes[1] == Operation.allocate.rawValue, bytes.count > Header.length + 24 {
        for index in (Header.length + 10)..<(Header.length + 16) { bytes[index] = 0 }
        for index in (Header.length + 18)..<(Header.length + 24) { bytes[index] = 0 }
      }
      let isPart =
        bytes[1] == Operation.append.rawValue && bytes.count > Header.length + 8 && bytes[Header.length + 8] != 0
      let request = e.peer.begin(Frame(copying: bytes))
      if isPart { parts.append(request) } else { pending.append(request) }
      if pending.count == 200 {
        for request in pending { #expect(e.peer.wait(request) != nil) }
        pending = []
      }
    }
    for request in pending { #expect(e.peer.wait(request) != nil) }
    #expect(!e.peer.violations.isEmpty)
    #expect(canary.isUntouched)
    #expect(try e.peer.done(.lookup(.path(.root))).attributes().type == .directory)
    e.peer.responder.end()
    for request in parts { #expect(e.peer.wait(request) != nil) }
  }
}

/// Numbers that are the same each time: splitmix64.
struct SplitMix {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}
