import P2PFSCore
import Glibc
import Rig
import SystemPackage
import Testing
import P2PFSWire

@testable import P2PFSMount

@Suite(.onThreads) struct ListingsAheadTests {
  private func candidates(_ names: [String]) -> [ListingsAhead.Candidate] {
    names.map {
      ListingsAhead.Candidate(
        parent: 1, name: Array($0.utf8), attributes: .made(.directory, inode: 5), asked: Instant(nanoseconds: 1))
    }
  }

  private func take(_ ahead: inout ListingsAhead, at now: Instant) -> [String] {
    var names: [String] = []
    var node = UInt64(ahead.counts.listed)
    while let next = ahead.next() {
      ahead.begin(next, as: 100 + node, at: now)
      node += 1
      names.append(String(decoding: next.name, as: UTF8.self))
    }
    return names
  }

  @Test func `as many are listed as the window has room for, the latest noted first`() {
    var ahead = ListingsAhead()
    let now = Instant(nanoseconds: 1_000_000_000_000)
    #expect(ahead.opened(1, at: now, validity: 5).isEmpty)
    ahead.expect(candidates((0..<100).map { "a\($0)" }))
    ahead.expect(candidates(["b"]))
    let taken = take(&ahead, at: now)
    #expect(taken == ["b"] + (0..<31).map { "a\($0)" })
    // One that is opened makes room for two: its own, and one more of a window that has grown.
    #expect(ahead.opened(100, at: now, validity: 5).isEmpty)
    #expect(take(&ahead, at: now) == ["a31", "a32"])
  }

  @Test func `what was not opened in time is listed again`() {
    var ahead = ListingsAhead()
    let now = Instant(nanoseconds: 1_000_000_000_000)
    _ = ahead.opened(1, at: now, validity: 5)
    ahead.expect(candidates(["a", "b"]))
    #expect(take(&ahead, at: now) == ["a", "b"])
    _ = ahead.opened(1, at: now.advanced(by: 4), validity: 5)
    #expect(ahead.counts.listed == 2)
    let late = ahead.opened(100, at: now.advanced(by: 6), validity: 5)
    #expect(late == [101])
    #expect(take(&ahead, at: now.advanced(by: 6)) == ["b"])
  }

  @Test func `less is listed ahead when much was in vain, and nothing is left of a walk that is over`() {
    var ahead = ListingsAhead()
    let now = Instant(nanoseconds: 1_000_000_000_000)
    _ = ahead.opened(1, at: now, validity: 5)
    ahead.expect(candidates((0..<40).map { "a\($0)" }))
    _ = take(&ahead, at: now)
    for node in 100..<132 { ahead.received(UInt64(node), entries: 100) }
    _ = ahead.opened(1, at: now.advanced(by: 4), validity: 5)
    #expect(ahead.opened(1, at: now.advanced(by: 6), validity: 5).count == 32)
    #expect(ahead.window == 16)
    _ = ahead.opened(1, at: now.advanced(by: 60), validity: 5)
    #expect(ahead.counts == (0, 0))
    #expect(ahead.window == Limits.Mount.listingsAhead)
  }

  @Test func `what is noted has a limit`() {
    var ahead = ListingsAhead()
    for _ in 0..<3 { ahead.expect(candidates((0..<5_000).map { "a\($0)" })) }
    #expect(ahead.counts.noted == Limits.Mount.expectedDirectories)
  }
}

@Suite(.onThreads, .serialized) struct WalkTests {
  @Test func `a walk asks once for each directory, and ahead`() async throws {
    let file = Attributes.made(.regular, inode: 77)
    let mount = try await HostileMount { request in
      switch request {
      case .lookup(.path(let place)):
        return [.told(.made(.directory, inode: 100 + UInt64(place.path.bytes.last ?? 0)))]
      case .list(_, let place, _):
        guard place.path.components.isEmpty else { return [.page([("file", file)])] }
        return [.page((0..<10).map { ("d\($0)", .made(.directory, inode: 148 + UInt64($0))) })]
      default: return [.done]
      }
    }
    // One thread opens the root and, while that is open, one directory in it.
    guard let root = opendir(mount.path.string) else { throw Errno(rawValue: errno) }
    while readdir(root) != nil {}
    #expect(mount.peer.count(.list) == 1)
    guard let first = opendir(mount.path.appending("d3").string) else { throw Errno(rawValue: errno) }
    closedir(first)
    closedir(root)
    for _ in 0..<1_000 where mount.peer.count(.list) < 11 { usleep(10_000) }
    #expect(mount.peer.count(.list) == 11)
    let result = shell("find \(mount.path) -name file | wc -l")
    #expect(result.output == "10\n")
    #expect(mount.peer.count(.list) == 11)
  }
}
