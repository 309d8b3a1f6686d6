import Rig
import P2PFS
import Testing

/// Meeting, being away, and the end.
@Suite(.onThreads, .timeLimit(.minutes(5))) struct PeerTests {
  @Test func `one host has many guests, each with channels of its own`() async throws {
    let host = try await Host.start(address: "127.0.0.1")
    #expect(host.code.contains("@127.0.0.1"))
    let serving = Task {
      for await peer in host.peers {
        peer.onChannel("echo") { channel in for try await message in channel { try await channel.send(message) } }
      }
    }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for number in 0..<4 {
        group.addTask {
          let peer = try await Peer.connect(to: host.code)
          #expect(peer.state == .online && peer.isRelayed == false && !peer.sharesFiles)
          let channel = try await peer.open("echo")
          try await channel.send("\(number)".utf8)
          channel.finish()
          #expect(try await channel.reduce(into: "") { $0 += String(decoding: $1, as: UTF8.self) } == "\(number)")
          try await channel.close()
          #expect(await comesTrue { peer.roundTripTime != nil })
          await peer.close()
          #expect(peer.state == .closed)
        }
      }
      try await group.waitForAll()
    }
    await host.close()
    await serving.value
    #expect(await host.codes.first { _ in true } == host.code)
  }

  @Test func `what was sent before a graceful close is received, also by a slow program`() async throws {
    try await Loopback.pair { guest, host in
      let (one, other) = try await Loopback.channel(guest, host)
      let closing = Task {
        for number in UInt8(0)..<100 { try await one.send([UInt8](repeating: number, count: 10_000)) }
        await guest.close()
        await expect(.finished) { try await one.send([1]) }
        await expect(.closed) { _ = try await guest.open("more") }
      }
      var count = 0
      for try await message in other {
        #expect(message.count == 10_000 && Int(message[0]) == count)
        count += 1
        try await Task.sleep(for: .milliseconds(3))
      }
      #expect(count == 100)
      try await closing.value
      #expect(await comesTrue { host.state == .closed })
    }
  }

  @Test func `when the other computer leaves, everything ends with gone`() async throws {
    try await Loopback.pair { guest, host in
      let (one, other) = try await Loopback.channel(guest, host)
      let (held, waiting) = try await Loopback.channel(guest, host)
      let sending = Task {
        await expect(.gone) { while true { try await waiting.send([UInt8](repeating: 0, count: 60_000)) } }
      }
      let states = Task { await host.states.reduce(into: [Peer.State]()) { $0.append($1) } }
      let channels = Task { for await _ in host.channels {} }
      try await Task.sleep(for: .milliseconds(100))
      // Without waiting for the channels, whose ends nobody takes.
      await guest.close(within: .zero)
      _ = await sending.value
      #expect(await states.value == [.online, .closed])
      await channels.value
      await expect(.gone) { try await other.send([1]) }
      await expect(.gone) { _ = try await host.open("more") }
      await expect(.gone) { _ = try await host.files.list() }
      for channel in [one, held] { await expect(.finished) { try await channel.send([1]) } }
    }
  }

  @Test func `a peer and a host that nobody holds any more are closed`() async throws {
    var host: Host? = try await Host.start(address: "127.0.0.1")
    let code = try #require(host?.code)
    var peer: Peer? = try await Peer.connect(to: code)
    let guest = try #require(await host?.peers.first { _ in true })
    #expect(guest.state == .online && peer?.state == .online)
    peer = nil
    #expect(await comesTrue { guest.state == .closed })
    let second = try await Peer.connect(to: code)
    host = nil
    #expect(await comesTrue { second.state == .closed })
    // The server is gone; another test's may have its port by now.
    let error = await #expect(throws: PeerError.self) { _ = try await Peer.connect(to: code) }
    #expect(error.map { [.signaling, .nobodyThere].contains($0.code) } == true)
  }

  @Test func `a channel keeps its peer`() async throws {
    try await Loopback.pair { guest, host in
      let other = host
      other.onChannel("echo") { channel in for try await message in channel { try await channel.send(message) } }
      let channel = try await guest.open("echo")
      #expect(channel.peer === guest)
      try await channel.send([1])
      #expect(try await channel.first { _ in true }.map(Array.init) == [1])
    }
  }

  @Test func `what was finished is delivered, also when its channel was the last that held the peer`() async throws {
    let host = try await Host.start(address: "127.0.0.1")
    let received = Counter()
    let (isAtEnd, isClosed) = (Counter(), Counter())
    host.onPeer { peer in
      peer.onState { if $0 == .closed { isClosed.add() } }
      peer.onChannel("slow") { channel in
        for try await message in channel {
          received.add(message.count)
          try await Task.sleep(for: .milliseconds(20))
        }
        isAtEnd.add()
      }
    }
    func send() async throws {
      let channel = try await Peer.connect(to: host.code).open("slow")
      for _ in 0..<30 { try await channel.send([UInt8](repeating: 0, count: 60_000)) }
      channel.finish()
    }
    try await send()
    #expect(await comesTrue { isAtEnd.value == 1 })
    #expect(received.value == 30 * 60_000)
    // Then the peer is let go of.
    #expect(await comesTrue { isClosed.value == 1 })
    await host.close()
  }

  @Test func `codes that cannot work say why`() async throws {
    let host = try await Host.start(address: "127.0.0.1")
    let at = try #require(host.code.firstIndex(of: "@"))
    let (code, server) = (host.code[..<at], host.code[at...])
    await expect(.invalidCode) { _ = try await Peer.connect(to: "hello") }
    await expect(.invalidCode) { _ = try await Peer.connect(to: String(code)) }
    await expect(.invalidCode) { _ = try await Peer.connect(to: host.code + ":/photos") }
    let room = code.hasPrefix("100001") ? "100002" : "100001"
    await expect(.nobodyThere) { _ = try await Peer.connect(to: room + code.dropFirst(6) + server) }
    let word = code.hasSuffix("babad") ? "dadab" : "babad"
    await expect(.wrongCode) { _ = try await Peer.connect(to: code.dropLast(5) + word + server) }
    await expect(.roomTaken) { _ = try await Host.start(code: host.code) }
    var options = Peer.Options()
    options.server = "http://x"
    await expect(.invalidArgument) { _ = try await Peer.connect(to: String(code), options: options) }
    options.server = "127.0.0.1:9"
    await expect(.signaling) { _ = try await Peer.connect(to: host.code, options: options) }
    await expect(.signaling) { _ = try await Host.start(options: options) }
    options = Peer.Options()
    options.share = .readOnly("/nowhere")
    let error = await expect(.file) { _ = try await Host.start(options: options) }
    #expect(error?.errno == 2 && error?.message == "/nowhere: No such file or directory")
    await expect(.invalidArgument) { _ = try await Host.start(address: "not an address") }
    let agreed = try await Host.start(code: "123456-lusab-babad", address: "127.0.0.1")
    #expect(agreed.code.hasPrefix("123456-lusab-babad@"))
    await agreed.close()
    await host.close()
  }

  @Test func `who is cancelled while connecting stops`() async throws {
    let host = try await Host.start(address: "127.0.0.1")
    let connecting = Task { try await Peer.connect(to: host.code) }
    connecting.cancel()
    await expect(.cancelled) { _ = try await connecting.value }
    await host.close()
  }
}
