import P2PFSCore
import P2PFSWire
import SystemPackage
import Testing

/// The numbers in the manual pages are those of the program.
@Suite struct ManualTests {
  /// The text of a page as one line, so that a phrase is found wherever the page breaks it.
  private static func page(_ name: String) throws -> String {
    // This file is Tests/WireTests/ManualTests.swift.
    let root = FilePath(#filePath).removingLastComponent().removingLastComponent().removingLastComponent()
    let file = try FileDescriptor.open(root.appending("man").appending(name), .readOnly)
    return try file.closeAfter {
      var bytes: [UInt8] = []
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 65_536, alignment: 1)
      defer { buffer.deallocate() }
      while case let count = try file.read(into: buffer), count > 0 { bytes += buffer[..<count] }
      return String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isWhitespace).joined(separator: " ")
    }
  }

  /// `1,048,576`
  private static func grouped(_ number: some BinaryInteger) -> String {
    var digits = String(number)
    var end = digits.count - 3
    while end > 0 {
      digits.insert(",", at: digits.index(digits.startIndex, offsetBy: end))
      end -= 3
    }
    return digits
  }

  private static func expect(_ phrases: [String], in name: String) throws {
    let text = try page(name)
    for phrase in phrases { #expect(text.contains(phrase), "\(name): \(phrase)") }
  }

  @Test func `each page that a page refers to exists, and p2pfs(1) leads to all`() throws {
    var seen: Set = ["p2pfs.1"]
    var next = ["p2pfs.1"]
    while let name = next.popLast() {
      for match in try Self.page(name).matches(of: /\.Xr (p2pfs[a-z\-]*) ([1-9])/) {
        let other = "\(match.1).\(match.2)"
        if seen.insert(other).inserted { next.append(other) }
      }
    }
    let commands = ["completions", "export", "forward", "mount", "pipe", "receive", "send", "signal", "umount"]
    #expect(seen == Set(commands.map { "p2pfs-\($0).1" } + ["p2pfs.1", "p2pfs-protocol.7"]))
  }

  @Test func `the protocol has the limits of the codec`() throws {
    // 2^62 - 1, as the page has it.
    #expect(Limits.Wire.fileSize == 1 << 62 - 1)
    let (data, read) = (Self.grouped(Limits.Wire.data), Self.grouped(Limits.Wire.read))
    try Self.expect(
      [
        "one message of at most \(Self.grouped(Limits.Wire.message)) bytes",
        "Every message starts with \(Header.length) bytes:", "below \(Limits.Session.requests).",
        "This page describes version \(Hello.currentVersion).",
        "with \(Limits.Session.requestCost) bytes added for each request",
        "limited to \(Self.grouped(Limits.Session.requestBytes)) bytes",
        "the last \(Limits.Session.recovery) slots", "fewer than \(Limits.Session.requests) requests",
        "components have 1 to \(Limits.Wire.name) bytes",
        "at most \(Self.grouped(Limits.Wire.path)) bytes and \(Self.grouped(Limits.Wire.depth)) components",
        ".Ss Identity \(FileIdentity.length) bytes:", ".Ss Version \(Attributes.Version.length) bytes:",
        ".Ss Attributes \(Attributes.length) bytes:", "A size is at most 2^62 \\- 1",
        "answered with at most \(Self.grouped(Limits.Wire.listing)) bytes",
        "as a string of 1 to \(Limits.Wire.linkTarget) bytes", "prefetch (32 bits, at most \(read))",
        "count (32 bits, at most \(read))", "offset, then at most \(data) bytes", "then at most \(data) bytes up to",
        "have at most \(Self.grouped(Limits.Wire.append)) bytes",
      ], in: "p2pfs-protocol.7")
  }

  @Test func `the protocol has the limits of channels and transfers`() throws {
    let entries = Self.grouped(Limits.Transfer.entries)
    try Self.expect(
      [
        "at most \(Limits.Channel.name) bytes of UTF-8", "again within \(Int(Limits.Channel.reopening)) seconds",
        "its length plus \(Limits.Channel.pieceCost)", "more than \(Limits.Channel.numbers) used numbers",
        "at most \(Self.grouped(Limits.Channel.piece)) bytes, up to",
        "initial limit is \(Self.grouped(Limits.Channel.window))", "up to \(Int(Limits.Channel.farewell)) seconds",
        "at most \(Limits.Channel.reason) bytes of UTF-8", "may have \(Limits.Channel.open) open channels",
        "accepts up to \(Limits.Channel.accepted),",
        "at most \(Limits.Forward.endpoint) bytes, and a path at most \(Limits.Forward.socketPath)",
        "string of at most \(Limits.Transfer.claim) bytes", "within \(Int(Limits.Transfer.opening)) seconds",
        "together are at most \(entries)", "the first \(Limits.Transfer.names) are given",
        "string of at most \(Limits.Transfer.text) bytes", "next 1 to \(Self.grouped(Limits.Channel.piece - 1)) bytes",
        "At most \(Self.grouped(Limits.Transfer.ahead)) files",
        "A link target has 1 to \(Limits.Wire.linkTarget) bytes",
      ], in: "p2pfs-protocol.7")
    try Self.expect(
      ["At most \(entries) files", "at most \(Limits.Transfer.names)"], in: "p2pfs-send.1")
    try Self.expect(["at most \(Limits.Transfer.names)"], in: "p2pfs-receive.1")
  }

  @Test func `commands have the limits of the program`() throws {
    let timeout = "the default is \(Int(Limits.Session.timeout))."
    try Self.expect(
      [
        "next free port of the \(Limits.Signaling.ports) that", "port \(ServerAddress.defaultPort),",
        "waits up to \(Int(Limits.Session.succession)) seconds", timeout, "At most \(Limits.Session.guests) guests",
        "away for an hour", "away for \(Int(Limits.Session.expiry / 3600)) hours",
        "at most \(Limits.Forward.accepted) connections and \(Limits.Forward.listeners) listeners",
      ], in: "p2pfs-export.1")
    #expect(Limits.Session.rest == 3600 && Limits.Pairing.attempts == 10)
    #expect(Limits.Pairing.secondRenewal == 60 && Limits.Pairing.longestRenewal == 3600)
    try Self.expect(
      [
        "the default is \(Int(Limits.Mount.validity)).", timeout, "from 4096 to \(Limits.Wire.read)",
        "cached for up to \(Int(Limits.Mount.validity)) seconds",
        "of up to \(Limits.Wire.append / 1_048_576) MiB", "of up to \(Limits.Session.leastWriteCredit / 1024) KiB",
        "exceed \(Limits.Mount.unsentOfKilled / 1024) KiB",
      ], in: "p2pfs-mount.1")
    try Self.expect(
      [
        "\(Limits.Pairing.leastWords) to \(Limits.Pairing.mostWords) words", timeout,
        "after \(Int(Limits.Session.vanished)) seconds", "before \(Int(Limits.Session.leastVanished)) seconds",
      ], in: "p2pfs-pipe.1")
    try Self.expect(
      [
        "up to \(Limits.Forward.listeners) times", "after \(Int(Limits.Forward.connect)) seconds",
        "At most \(Limits.Forward.connections) connections", "at most \(Limits.Forward.socketPath) bytes", timeout,
      ], in: "p2pfs-forward.1")
  }

  @Test func `the signaling server has the limits of its page`() throws {
    typealias Bounds = Limits.Signaling
    #expect(Bounds.hostShare == 4 && Bounds.turnLifetime == 600)
    let host = Bounds.backlog * (1 + Int(Bounds.hostShare)) / 1_048_576
    try Self.expect(
      [
        "rooms Ta \(Self.grouped(Bounds.rooms))", "guests in a room Ta \(Bounds.guests)",
        "connections Ta \(Self.grouped(Bounds.connections))",
        "one address Ta \(Bounds.connectionsPerAddress)", "one address Ta \(Bounds.joinsPerMinute) a minute",
        "message Ta \(Bounds.message / 1024) KiB",
        "Ta \(Int(Bounds.messageRate)) a second, bursts of \(Int(Bounds.messageBurst))",
        "Ta \(Int(Bounds.byteRate) / 1024) KiB a second, bursts of \(Int(Bounds.byteBurst) / 1024) KiB",
        "Ta \(Bounds.backlog / 1_048_576) MiB", "Ta \(host) MiB, at most \(Bounds.guestBacklog / 1024) KiB",
        "upgrade Ta \(Int(Bounds.handshake)) seconds", "guest Ta \(Int(Bounds.silence)) seconds",
        "silence Ta \(Int(Bounds.idle)) seconds; clients send a ping every \(Int(Bounds.ping))",
        "host Ta \(Int(Bounds.reservation)) seconds", "Ta \(Self.grouped(Int(Bounds.stunRate))) a second",
        "default is port \(ServerAddress.defaultPort)",
      ], in: "p2pfs-signal.1")
  }
}
