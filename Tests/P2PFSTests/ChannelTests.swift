import Rig
import P2PFS
import Synchronization
import Testing

/// Channels of the library between two peers over loopback.
@Suite(.onThreads, .timeLimit(.minutes(5))) struct ChannelTests {
  @Test func `messages keep their borders in both directions, empty ones and the longest too`() async throws {
    try await Loopback.pair { guest, host in
      let (one, other) = try await Loopback.channel(guest, host)
      #expect(one.kind == .messages && other.kind == .messages && other.name == "test")
      let messages: [[UInt8]] = [
        [], [1], Array("two".utf8), pattern(P2PFS.Channel.largestMessage), [], pattern(40_000, seed: 2),
      ]
      for (from, to) in [(one, other), (other, one)] {
        for message in messages { try await from.send(message) }
        from.finish()
        var received: [[UInt8]] = []
        for try await message in to { received.append(Array(message)) }
        #expect(received == messages)
      }
      async let end: Void = one.close()
      try await other.close()
      try await end
      #expect(P2PFS.Channel.largestMessage == 65_519)
    }
  }

  @Test func `a message that is too long, and one behind the end, are refused, and the rest goes on`() async throws {
    try await Loopback.pair { guest, host in
      let (one, other) = try await Loopback.channel(guest, host)
      let tooLong = [UInt8](repeating: 0, count: P2PFS.Channel.largestMessage + 1)
      await expect(.tooLarge) { try await one.send(tooLong) }
      try await one.send("fine".utf8)
      one.finish()
      one.finish()
      await expect(.finished) { try await one.send("late".utf8) }
      let received = try await other.reduce(into: [String]()) { $0.append(String(decoding: $1, as: UTF8.self)) }
      #expect(received == ["fine"])
    }
  }

  @Test func `a stream carries megabytes in both directions at once, in chunks of any size`() async throws {
    try await Loopback.pair { guest, host in
      let (one, other) = try await Loopback.channel(guest, host, as: .stream)
      #expect(other.kind == .stream)
      try await withThrowingTaskGroup(of: Void.self) { group in
        for (seed, from, to) in [(UInt64(1), one, other), (2, other, one)] {
          let contents = pattern(3_000_001, seed: seed)
          group.addTask {
            try await from.send([UInt8]())
            try await from.send(contents[..<7])
            // A sequence without contiguous storage, too.
            try await from.send(AnySequence(contents[7..<100_000]))
            try await from.send(contents[100_000...])
            from.finish()
          }
          group.addTask {
            var received: [UInt8] = []
            for try await chunk in to {
              #expect(!chunk.isEmpty)
              received += chunk
            }
            #expect(received == contents)
          }
        }
        try await group.waitForAll()
      }
    }
  }

  @Test func `a sender that is faster than the receiver is held, and nothing is lost`() async throws {
    try await Loopback.pair { guest, host in
      let (one, other) = try await Loopback.channel(guest, host)
      let sent = Counter()
      let message = pattern(60_000)
      let sending = Task {
        for _ in 0..<200 {
          try await one.send(message)
          sent.add()
        }
        one.finish()
      }
      var last = -1
      while last != sent.value {
        last = sent.value
        try await Task.sleep(for: .milliseconds(300))
      }
      // 256 KiB is the window of a channel whose receiver has not taken anything.
      #expect((1...5).contains(last))
      var received = 0
      for try await message in other where message.count == 60_000 { received += 1 }
      #expect(received == 200)
      try await sending.value
    }
  }

  @Test func `what is sent when the end is said goes out before it`() async throws {
    try await Loopback.pair { guest, host in
      let (one, other) = try await Loopback.channel(guest, host, as: .stream)
      let contents = pattern(2_000_000)
      let sending = Task { try await one.send(contents) }
      try await Task.sleep(for: .milliseconds(200))
      one.finish()
      await expect(.finished) { try await one.send([1]) }
      #expect(try await other.reduce(into: [UInt8]()) { $0 += $1 } == contents)
      try await sending.value
    }
  }

  @Test func `several senders take turns, so that what each sends stays together`() async throws {
    try await Loopback.pair { guest, host in
      let (one, other) = try await Loopback.channel(guest, host, as: .stream)
      let sending = Task {
        try await withThrowingTaskGroup(of: Void.self) { group in
          for number in UInt8(0)..<6 {
            group.addTask { for _ in 0..<4 { try await one.send([UInt8](repeating: number, count: 100_000)) } }
          }
          try await group.waitForAll()
        }
        one.finish()
      }
      let received = try await other.reduce(into: [UInt8]()) { $0 += $1 }
      #expect(received.count == 2_400_000)
      let mixed = stride(from: 0, to: received.count, by: 100_000).filter { start in
        received[start..<start + 100_000].contains { $0 != received[start] }
      }
      #expect(mixed.isEmpty)
      try await sending.value
    }
  }

  @Test func `one direction ends, the other goes on`() async throws {
    try await Loopback.pair { guest, host in
      let (one, other) = try await Loopback.channel(guest, host)
      one.finish()
      var iterator = other.makeAsyncIterator()
      #expect(try await iterator.next() == nil)
      for number in UInt8(0)..<10 { try await other.send([number]) }
      other.finish()
      #expect(try await one.reduce(into: [UInt8]()) { $0 += $1 } == Array(0..<10))
      try await other.close()
      try await one.close()
    }
  }

  @Test func `a stream takes from a sequence only what there is room for`() async throws {
    try await Loopback.pair { guest, host in
      let (one, other) = try await Loopback.channel(guest, host, as: .stream)
      let made = Counter()
      let sending = Task {
        try await one.send(
          (0..<20_000_000).lazy.map { number in
            made.add()
            return UInt8(truncatingIfNeeded: number / 251)
          })
        one.finish()
      }
      var last = -1
      while last != made.value || last == 0 {
        last = made.value
        try await Task.sleep(for: .milliseconds(300))
      }
      // The window of a channel whose receiver has not taken anything, and the piece that waits.
      #expect(last <= 262_144 + 32_768)
      var count = 0
      for try await chunk in other {
        for byte in chunk {
          guard byte == UInt8(truncatingIfNeeded: count / 251) else { throw PeerError(.file, "wrong at \(count)") }
          count += 1
        }
        if count > 1_000_000 { break }
      }
      other.cancel()
      await expect(.reset) { try await sending.value }
    }
  }

  @Test func `a message may be any sequence, and one without end is too long`() async throws {
    try await Loopback.pair { guest, host in
      let (one, other) = try await Loopback.channel(guest, host)
      try await one.send((0..<1_000).lazy.map { UInt8(truncatingIfNeeded: $0) })
      await expect(.tooLarge) { try await one.send(sequence(first: 0 as UInt8) { $0 &+ 1 }) }
      one.finish()
      #expect(try await other.reduce(into: [Int]()) { $0.append($1.count) } == [1_000])
    }
  }

  @Test func `a channel is accepted or refused once`() async throws {
    try await Loopback.pair { guest, host in
      let opening = Task { await expect(.refused) { _ = try await guest.open("x") } }
      let incoming = try #require(await host.channels.first { _ in true })
      incoming.refuse()
      await expect(.closed) { _ = try incoming.accept() }
      _ = await opening.value
      async let opened = guest.open("y")
      let other = try #require(await host.channels.first { _ in true })
      let channel = try other.accept()
      await expect(.closed) { _ = try other.accept() }
      other.refuse()
      try await channel.send([1])
      #expect(try await opened.first { _ in true }.map(Array.init) == [1])
    }
  }

  @Test func `a channel can be refused, with a reason that is harmless on a terminal`() async throws {
    try await Loopback.pair { guest, host in
      let refusing = Task {
        for await incoming in host.channels {
          if incoming.name == "let go of" { continue }
          incoming.refuse("no \u{1b}[31m\(incoming.name)")
          incoming.refuse("again")
        }
      }
      let error = await expect(.refused) { _ = try await guest.open("x") }
      #expect(error?.message == "the other program refused: no \\u{1b}[31mx")
      await expect(.refused) { _ = try await guest.open("let go of") }
      await expect(.invalidArgument) { _ = try await guest.open(String(repeating: "x", count: 201)) }
      refusing.cancel()
    }
  }

  @Test func `a channel that nobody takes is refused, and one that is taken late is not`() async throws {
    try await Loopback.pair { guest, host in
      async let forgotten = expect(.refused) { _ = try await guest.open("nobody") }
      async let late = guest.open("late")
      try await Task.sleep(for: .seconds(2))
      host.onChannel("late") { channel in try await channel.send("here".utf8) }
      #expect(try await late.reduce(into: [UInt8]()) { $0 += $1 } == Array("here".utf8))
      #expect(await forgotten != nil)
    }
  }

  @Test func `a channel given up fails on both sides, and the other learns why`() async throws {
    try await Loopback.pair { guest, host in
      let (one, other) = try await Loopback.channel(guest, host)
      try await one.send("before".utf8)
      #expect(await comesTrue { one.kind == .messages })
      var iterator = other.makeAsyncIterator()
      #expect(try await iterator.next().map(Array.init) == Array("before".utf8))
      one.cancel("disk \u{7} full")
      let error = await expect(.reset) { _ = try await iterator.next() }
      #expect(error?.message.contains("disk \\u{7} full") == true)
      await expect(.reset) { try await other.send([1]) }
      await expect(.cancelled) { try await one.send([1]) }
      await expect(.cancelled) { try await one.close() }
    }
  }

  @Test func `a cancelled task stops waiting, and the channel goes on`() async throws {
    try await Loopback.pair { guest, host in
      let (one, other) = try await Loopback.channel(guest, host)
      let receiving = Task { await expect(.cancelled) { for try await _ in one {} } }
      let opening = Task { await expect(.cancelled) { _ = try await guest.open("nobody") } }
      let sending = Task {
        await expect(.cancelled) { while true { try await one.send([UInt8](repeating: 0, count: 60_000)) } }
      }
      try await Task.sleep(for: .milliseconds(200))
      for task in [receiving, opening, sending] { task.cancel() }
      for task in [receiving, opening, sending] { _ = await task.value }
      try await other.send("still there".utf8)
      var iterator = one.makeAsyncIterator()
      #expect(try await iterator.next().map(Array.init) == Array("still there".utf8))
    }
  }

  @Test func `callbacks come one at a time, in order, the end last`() async throws {
    try await Loopback.pair { guest, host in
      let (one, other) = try await Loopback.channel(guest, host)
      let heard = Mutex<[String]>([])
      let running = Counter()
      let task = other.onMessage { message in
        running.add()
        #expect(running.value == 1)
        try? await Task.sleep(for: .milliseconds(1))
        heard.withLock { $0.append(String(decoding: message, as: UTF8.self)) }
        running.add(-1)
      } onEnd: { error in
        heard.withLock { $0.append(error == nil ? "end" : "error") }
      }
      for number in 0..<50 { try await one.send("\(number)".utf8) }
      one.finish()
      await task.value
      #expect(heard.withLock { $0 } == (0..<50).map { "\($0)" } + ["end"])
    }
  }

  @Test func `a channel that is let go of is given up, but delivers what was finished`() async throws {
    try await Loopback.pair { guest, host in
      var (one, other): (P2PFS.Channel?, P2PFS.Channel) = try await Loopback.channel(guest, host)
      one = nil
      await expect(.reset) { for try await _ in other {} }
      (one, other) = try await Loopback.channel(guest, host)
      for _ in 0..<4 { try await one?.send(pattern(60_000)) }
      one?.finish()
      one = nil
      #expect(try await other.reduce(0) { $0 + $1.count } == 240_000)
      try await other.close()
      // Received to its end, and let go of without a word.
      (one, other) = try await Loopback.channel(guest, host)
      let receiver = Task { [one] in
        let count = try await one?.reduce(0) { $0 + $1.count }
        #expect(count == 3)
      }
      one = nil
      try await other.send([1, 2, 3])
      try await other.close()
      try await receiver.value
    }
  }

  @Test func `who is late gets all that had arrived, and the end, though the other computer is gone`() async throws {
    try await Loopback.pair { guest, host in
      let (one, other) = try await Loopback.channel(guest, host)
      for number in UInt8(0)..<3 { try await one.send([number]) }
      one.finish()
      try await Task.sleep(for: .milliseconds(300))
      await guest.close(within: .zero)
      #expect(await comesTrue { host.state == .closed })
      #expect(try await other.reduce(into: [UInt8]()) { $0 += $1 } == [0, 1, 2])
    }
  }

  @Test func `received bytes are a collection`() async throws {
    try await Loopback.pair { guest, host in
      let (one, other) = try await Loopback.channel(guest, host)
      try await one.send("Grüße".utf8)
      try await one.send("Grüße".utf8)
      var iterator = other.makeAsyncIterator()
      let bytes = try #require(try await iterator.next())
      let same = try #require(try await iterator.next())
      #expect(String(decoding: bytes, as: UTF8.self) == "Grüße" && bytes.count == 7 && bytes[0] == 0x47)
      #expect(Array(bytes) == Array("Grüße".utf8) && Array(bytes[2...3]) == [0xC3, 0xBC])
      #expect(bytes == same && Set([bytes, same]).count == 1)
      #expect(bytes.withUnsafeBytes { $0.count } == 7)
    }
  }
}

/// Expects a `PeerError` of this code.
@discardableResult
func expect(
  _ code: PeerError.Code, at location: SourceLocation = #_sourceLocation, _ body: () async throws -> Void
) async -> PeerError? {
  do {
    try await body()
    Issue.record("no error; expected \(code)", sourceLocation: location)
  } catch let error as PeerError {
    #expect(error.code == code, "\(error)", sourceLocation: location)
    return error
  } catch {
    Issue.record("\(error)", sourceLocation: location)
  }
  return nil
}
