import P2PFSCore
import P2PFSMeeting
import P2PFSSession
import P2PFSTransfer
import P2PFSWire

/// A transfer whose messages are made by hand, or of pieces that the real sender would never put together.
private struct Talk {
  let channel: AsyncChannel

  init(_ channel: SessionChannel) { self.channel = AsyncChannel(channel) }

  /// Comes to a program that waits.
  static func open(_ session: Session) throws -> Talk {
    Talk(try session.openChannel("transfer", keepsMessages: true))
  }

  func say(_ messages: TransferMessage...) async throws {
    for message in messages { try await channel.send(message.piece) }
  }

  func say(raw bytes: [UInt8]) async throws {
    let piece = SessionChannel.piece(capacity: max(bytes.count, 1))
    bytes.withUnsafeBytes { piece.write($0) }
    try await channel.send(piece)
  }

  func hear() async throws -> TransferMessage {
    guard let piece = try await channel.next(after: nil) else { throw Surprise("the end") }
    defer { channel.channel.consumed(piece) }
    return try TransferMessage(parsing: piece)
  }

  /// Hears on until the channel is over, and says how that was.
  func hearAll() async {
    while let message = try? await hear() {
      if case .problem(let problem) = message { HostilePeer.say("problem: \(problem.reason)") }
      if case .result(let result) = message { HostilePeer.say("result: \(result.files) files") }
    }
    HostilePeer.say("over: \(channel.channel.failure.map { "\($0)" } ?? "complete")")
  }

  /// The end as an honest side says it.
  func finish() async throws {
    channel.channel.finish()
    await hearAll()
  }
}

private let now = Timestamp(seconds: 1, nanoseconds: 0)

private func entry(_ kind: TransferEntry.Kind, _ path: String) throws -> TransferMessage {
  .entry(TransferEntry(kind, mode: 0o755, modified: now, path: try Path(Array(path.utf8))))
}

/// An entry as it travels, with any bytes for its path and target.
private func rawEntry(_ kind: UInt8, _ path: [UInt8], mode: UInt32 = 0o644, target: [UInt8] = [], size: Int64 = 1)
  -> [UInt8]
{
  func bytes(_ value: some FixedWidthInteger) -> [UInt8] { withUnsafeBytes(of: value.littleEndian) { Array($0) } }
  var all: [UInt8] = [5, kind] + bytes(mode) + bytes(Int64(1)) + bytes(UInt32(0))
  all += bytes(UInt16(truncatingIfNeeded: path.count)) + path
  switch kind {
  case 2: all += bytes(size)
  case 3: all += bytes(UInt16(target.count)) + target
  default: break
  }
  return all
}

/// What a sender says first, and the victim's consent.
private func begin(
  _ session: Session, names: [[UInt8]] = ["t", "out", "way", "mine"].map { Array($0.utf8) }, bytes: Int64 = 1_000
) async throws -> Talk {
  let talk = try Talk.open(session)
  var offer = TransferMessage.Offer()
  (offer.files, offer.directories, offer.links, offer.bytes, offer.tops) = (100, 50, 50, bytes, UInt64(names.count))
  offer.names = names
  try await talk.say(.hello(.init(sends: true, claim: Array("root\u{1b}[2J@\u{202e}host\n".utf8))), .offer(offer))
  guard case .hello = try await talk.hear(), case .accept = try await talk.hear() else {
    throw Surprise("not accepted")
  }
  return talk
}

/// A sender, against `p2pfs receive`.
let senderActs: [String: Act] = {
  func sender(_ play: @escaping @Sendable (Talk) async throws -> Void) -> Act {
    .program(.guest) { session, _ in
      let talk = try await begin(session)
      do { try await play(talk) } catch let error as SessionChannelError {
        // It was cut off in the middle, as it deserves.
        HostilePeer.say("\(error)")
      }
      try await talk.finish()
    }
  }
  /// One entry, made by hand.
  func name(_ bytes: [UInt8], kind: UInt8 = 2, target: [UInt8] = []) -> Act {
    sender { try await $0.say(raw: rawEntry(kind, bytes, target: target)) }
  }
  func name(_ text: String) -> Act { name(Array(text.utf8)) }
  func link(_ target: String) -> Act {
    sender { talk in
      try await talk.say(try entry(.directory, "t"))
      try await talk.say(raw: rawEntry(3, Array("t/l".utf8), target: Array(target.utf8)))
    }
  }
  var acts: [String: Act] = [
    "name-parent": name("../canary"), "name-inner-parent": name("t/../../canary"), "name-absolute": name("/tmp/x"),
    "name-empty": name(""), "name-dot": name("."), "name-dots": name(".."), "name-double-slash": name("t//x"),
    "name-inner-dot": name("t/./x"), "name-trailing-slash": name("t/"), "name-nul": name([116, 0, 120]),
    "name-long": name([UInt8](repeating: 97, count: 256)),
    "name-deep": name(Array(String(repeating: "a/", count: 2_049).utf8) + [97]),
    "name-longer-than-the-message": sender { talk in
      var message = rawEntry(2, Array("t/x".utf8))
      (message[18], message[19]) = (0xff, 0xff)
      try await talk.say(raw: message)
    },
    "link-absolute": link("/etc/passwd"), "link-parent": link("../canary"), "link-up-and-down": link("x/../../canary"),
    "link-empty": link(""), "link-nul": link("x\u{0}y"),
    "setuid": sender { try await $0.say(raw: rawEntry(2, Array("t".utf8), mode: 0o4755)) },
    "kind-device": name(Array("t".utf8), kind: 4),
    "name-not-offered": name(".bashrc"),
    "name-offered-before": sender { talk in
      try await talk.say(try entry(.directory, "out"), try entry(.directory, "t"))
    },
    "nothing-of-the-offer": sender { try await $0.say(.complete) },
    "left-out-without-a-word": sender { talk in
      try await talk.say(try entry(.file(size: 1), "t"))
      _ = try await talk.hear()
      try await talk.say(.problem(.init(number: 1, path: [], reason: "")), .complete)
    },
    "size-negative": sender { try await $0.say(raw: rawEntry(2, Array("t".utf8), size: -1)) },
    "size-largest": sender { try await $0.say(raw: rawEntry(2, Array("t".utf8), size: .max)) },
    "more-than-offered": sender { try await $0.say(try entry(.file(size: 1_001), "t")) },
    "entries-without-end": sender { talk in
      for number in 0..<10_000 { try await talk.say(try entry(.directory, "t/\(number)")) }
    },
    "data-nobody-asked-for": sender { try await $0.say(raw: [9, 1, 2, 3]) },
    "data-beyond-the-size": sender { talk in
      try await talk.say(try entry(.file(size: 2), "t"))
      _ = try await talk.hear()
      try await talk.say(.begin(number: 1, offset: 0))
      try await talk.say(raw: [9, 1, 2, 3])
    },
    "begin-beyond-the-size": sender { talk in
      try await talk.say(try entry(.file(size: 2), "t"))
      _ = try await talk.hear()
      try await talk.say(.begin(number: 1, offset: Limits.Wire.fileSize))
    },
    "message-unknown": sender { try await $0.say(raw: [99]) },
    "message-empty": sender { try await $0.say(raw: []) },
    "message-of-the-other-side": sender { try await $0.say(.want(number: 1, have: 0, hash: nil)) },
    "message-largest": sender { try await $0.say(raw: [5] + [UInt8](repeating: 0xff, count: 65_000)) },
    "end-in-the-middle": sender { talk in
      try await talk.say(try entry(.file(size: 10), "t"))
      _ = try await talk.hear()
      try await talk.say(.begin(number: 1, offset: 0))
    },
    // What is well formed, and still must do no harm: the rest of the transfer goes on.
    "way-through-links": sender { talk in
      try await talk.say(try entry(.directory, "t"), try entry(.link(target: Array(".".utf8)), "t/here"))
      try await talk.say(try entry(.file(size: 0), "t/here/x"))
      // What lies there: a link to the directory above, and one to the canary.
      try await talk.say(try entry(.file(size: 0), "out/x"), try entry(.directory, "out"))
      try await talk.say(try entry(.file(size: 0), "way"), try entry(.directory, "way"), .complete)
    },
    "overwrite": sender { talk in
      try await talk.say(try entry(.file(size: 1), "mine"), try entry(.link(target: Array("t".utf8)), "mine"))
      try await talk.say(.complete)
    },
    "hash-wrong": sender { talk in
      try await talk.say(try entry(.file(size: 1), "t"))
      _ = try await talk.hear()
      try await talk.say(
        .begin(number: 1, offset: 0), .data(FrameSlice(Frame(copying: [120]), 0..<1)),
        .end(number: 1, hash: ContentHash([UInt8](repeating: 0, count: ContentHash.length))), .complete)
    },
    "names-on-the-terminal": .program(.guest) { session, _ in
      let name = "\u{1b}]0;owned\u{7}\u{9b}31m\n\u{202e}gpj"
      let talk = try await begin(session, names: [Array(name.utf8), [0xff, 0xfe, 0x1b]])
      try await talk.say(.problem(.init(number: 0, path: Array(name.utf8), reason: name)), .complete)
      try await talk.finish()
    },
    "reset-with-a-story": sender { talk in
      talk.channel.channel.reset(.failed, "\u{1b}[2J\u{1b}]0;owned\u{7}" + String(repeating: "x", count: 5_000))
    },
  ]
  acts["offer-of-too-much"] = .program(.guest) { session, _ in
    let talk = try Talk.open(session)
    try await talk.say(.hello(.init(sends: true, claim: [])))
    try await talk.say(raw: [2] + [UInt8](repeating: 0xff, count: 41))
    try await talk.finish()
  }
  acts["hello-of-a-later-version"] = .program(.guest) { session, _ in
    let talk = try Talk.open(session)
    try await talk.say(.hello(.init(sends: true, claim: [], version: 77)))
    try await talk.finish()
  }
  acts["offer-never"] = .program(.guest) { session, _ in
    let talk = try Talk.open(session)
    await talk.hearAll()
  }
  return acts
}()

/// A receiver, against `p2pfs send t`, which has the files t/a and t/b.
let receiverActs: [String: Act] = {
  func receiver(_ play: @escaping @Sendable (Talk) async throws -> Void) -> Act {
    .program(.guest) { session, _ in
      let talk = try Talk.open(session)
      do {
        try await talk.say(.hello(.init(sends: false, claim: Array("\u{1b}[2J".utf8))), .accept)
        // Its hello and offer, and the entries t, t/a and t/b.
        for _ in 0..<5 { _ = try await talk.hear() }
        try await play(talk)
      } catch let error as SessionChannelError {
        HostilePeer.say("\(error)")
      }
      while let message = try? await talk.hear() {
        guard case .data(let slice) = message else { continue }
        HostilePeer.say("contents: \(String(decoding: slice.bytes, as: UTF8.self))")
      }
    }
  }
  let hash = ContentHash([UInt8](repeating: 1, count: ContentHash.length))
  return [
    "want-a-directory": receiver { try await $0.say(.want(number: 1, have: 0, hash: nil)) },
    "want-what-is-not-there": receiver { try await $0.say(.want(number: 77, have: 0, hash: nil)) },
    "want-from-behind-the-end": receiver { try await $0.say(.want(number: 2, have: Limits.Wire.fileSize, hash: hash)) },
    "want-twice": receiver { talk in
      try await talk.say(.want(number: 2, have: 0, hash: nil), .want(number: 2, have: 0, hash: nil))
    },
    "want-number-zero": receiver { try await $0.say(raw: [6] + [UInt8](repeating: 0, count: 16)) },
    "check-what-is-not-there": receiver { try await $0.say(.check(number: 1_000_000)) },
    "problem-of-nothing": receiver { try await $0.say(.problem(.init(number: 50, path: [], reason: "x"))) },
    "result-at-once": receiver { try await $0.say(.result(.init())) },
    "consent-twice": receiver { try await $0.say(.accept) },
    "sender-of-its-own": receiver { try await $0.say(try entry(.directory, "x")) },
    "garbage-for-the-sender": receiver { try await $0.say(raw: [UInt8](repeating: 0xff, count: 1_000)) },
    "end-for-the-sender": receiver { $0.channel.channel.finish() },
    "refusal-with-a-story": .program(.guest) { session, _ in
      let talk = try Talk.open(session)
      try await talk.say(.hello(.init(sends: false, claim: [])), .decline("\u{1b}[2J\u{1b}]0;owned\u{7}"))
      try await talk.finish()
    },
  ]
}()
