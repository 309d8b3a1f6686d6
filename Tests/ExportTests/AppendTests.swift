import CP2PFSLinux
import P2PFSCore
import Glibc
import Rig
import P2PFSSession
import SystemPackage
import Testing
import P2PFSWire

@testable import P2PFSExport

/// What is added to the end of a file, wherever that is.
@Suite(.onThreads) struct AppendTests {
  private func text(_ text: String) -> FrameSlice { slice(Array(text.utf8)) }

  @Test func `appends go to the end in the order they came`() throws {
    let e = try Exported()
    let handle = try e.peer.create(path("f"), [.write, .append])
    let other = try e.peer.open(path("f"), [.write, .append])
    let requests = (0..<200).map { e.peer.begin(.append(handle, more: false, text("\($0),"))) }
    for request in requests { #expect(e.peer.wait(request)?.replies.first?.reply.error == nil) }
    try e.peer.done(.append(other, more: false, text("end")))
    #expect(contents(e.local("f")) == Array(((0..<200).map { "\($0)," }.joined() + "end").utf8))
  }

  @Test func `the parts of an append are written by one call, and all answered with the same`() throws {
    let e = try Exported()
    try place("before,", at: e.local("f"))
    let handle = try e.peer.open(path("f"), [.write, .append])
    let parts = ["one,", "", "two,"].map { e.peer.begin(.append(handle, more: true, text($0))) }
    // What asks of the file meanwhile is answered, and finds none of it.
    #expect(try e.peer.done(.lookup(.handle(handle))).attributes().size == 7)
    #expect(parts.allSatisfy { !e.peer.isAnswered($0) })
    // Somebody here comes in between.
    let local = open(e.local("f").string, O_WRONLY | O_APPEND)
    #expect(write(local, "local,", 6) == 6)
    close(local)
    let last = e.peer.begin(.append(handle, more: false, text("three")))
    for part in parts + [last] {
      let answer = try #require(e.peer.wait(part))
      #expect(try answer.replies[0].reply.appended() == Appended(offset: 13, count: 13))
    }
    #expect(contents(e.local("f")) == Array("before,local,one,two,three".utf8))
    #expect(
      try e.peer.done(.append(handle, more: false, text(""))).replies[0].reply.appended()
        == Appended(offset: 26, count: 0))
  }

  @Test func `an append of the largest size is one, beside those of others`() throws {
    let e = try Exported()
    let other = Peer(e.share)
    _ = try e.peer.create(path("f"))
    let (first, second) = try (
      e.peer.open(path("f"), [.write, .append]), other.open(path("f"), [.write, .append])
    )
    let pieces = Limits.Wire.append / Limits.Wire.data
    func begin(_ peer: Peer, _ handle: Handle, _ byte: UInt8) -> [UInt64] {
      let piece = slice([UInt8](repeating: byte, count: Limits.Wire.data))
      return (1...pieces).map { peer.begin(.append(handle, more: $0 < pieces, piece)) }
    }
    for _ in 0..<4 {
      let (ours, theirs) = (begin(e.peer, first, 1), begin(other, second, 2))
      for request in ours { #expect(e.peer.wait(request)?.error == nil) }
      for request in theirs { #expect(other.wait(request)?.error == nil) }
    }
    let bytes = try #require(contents(e.local("f")))
    #expect(bytes.count == 8 * Limits.Wire.append)
    let changes = zip(bytes, bytes.dropFirst()).enumerated().filter { $1.0 != $1.1 }.map { $0.offset + 1 }
    #expect(changes.allSatisfy { $0 % Limits.Wire.append == 0 })
  }

  @Test func `more than an append may hold ends the connection, and nothing of it is written`() throws {
    let e = try Exported()
    let handle = try e.peer.create(path("f"), [.write, .append])
    let piece = slice([UInt8](repeating: 1, count: Limits.Wire.data))
    let parts = (0...(Limits.Wire.append / Limits.Wire.data)).map { _ in
      e.peer.begin(.append(handle, more: true, piece))
    }
    for part in parts { #expect(e.peer.wait(part)?.error != nil) }
    #expect(e.peer.violations.count == 1)
    #expect(contents(e.local("f")) == [])
    let many = (0...Limits.Export.appendParts).map { _ in e.peer.begin(.append(handle, more: true, slice([]))) }
    for part in many { #expect(e.peer.wait(part)?.error != nil) }
    #expect(e.peer.violations.count == 2)
    try e.peer.done(.append(handle, more: false, text("x")))
  }

  @Test func `parts without a last one are answered by an error when the file or the session is over`() throws {
    let e = try Exported()
    let handle = try e.peer.create(path("f"), [.write, .append])
    let closed = e.peer.begin(.append(handle, more: true, text("x")))
    try e.peer.done(.close(handle))
    #expect(e.peer.wait(closed)?.error == .ioError)
    let again = try e.peer.open(path("f"), [.write, .append])
    let ended = e.peer.begin(.append(again, more: true, text("y")))
    try e.peer.done(.lookup(.handle(again)))
    e.peer.responder.end()
    #expect(e.peer.wait(ended)?.error == .ioError)
    #expect(contents(e.local("f")) == [])
  }

  @Test func `a write of a file that is appended to goes where it says`() throws {
    let e = try Exported()
    let handle = try e.peer.create(path("f"), [.write, .append])
    try e.peer.done(.append(handle, more: false, text("0123456789")))
    try e.peer.write(handle, "X", at: 2)
    try e.peer.done(.append(handle, more: false, text("!")))
    #expect(contents(e.local("f")) == Array("01X3456789!".utf8))
  }

  /// Needs root, and a filesystem that knows the attribute.
  @Test func `a file that can only be appended to is opened for that`() throws {
    let e = try Exported()
    try place("log,", at: e.local("f"))
    guard run(["/usr/bin/chattr", "+a", e.local("f").string]) == 0 else { return }
    defer { _ = run(["/usr/bin/chattr", "-a", e.local("f").string]) }
    #expect(try e.peer.error(.open(e.peer.newHandle(), path("f"), .write, prefetch: 0)) == .notPermitted)
    let handle = try e.peer.open(path("f"), [.write, .append])
    let appended = try e.peer.done(.append(handle, more: false, text("line"))).replies[0].reply.appended()
    #expect(appended == Appended(offset: 4, count: 4))
    try e.peer.done(.flush(handle))
    try e.peer.done(.append(handle, more: false, text("!")))
    #expect(contents(e.local("f")) == Array("log,line!".utf8))
  }
}

/// Runs a program; its exit status, or -1.
func run(_ arguments: [String]) -> CInt {
  var pid: pid_t = 0
  var pointers = arguments.map { strdup($0) } + [nil]
  defer { for pointer in pointers { free(pointer) } }
  guard posix_spawn(&pid, arguments[0], nil, nil, &pointers, environ) == 0 else { return -1 }
  var status: CInt = 0
  guard waitpid(pid, &status, 0) == pid, status & 0x7f == 0 else { return -1 }
  return status >> 8 & 0xff
}
