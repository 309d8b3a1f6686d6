import P2PFS

// The examples of the documentation, word for word: a test compares them (`DocumentationTests`). Most are run there.

enum DocumentedExamples {
  static func bytes(_ bytes: Bytes) -> (Int, Int, Int) {
    let array = Array(bytes)
    let text = String(decoding: bytes, as: UTF8.self)
    let sum = bytes.withUnsafeBytes { $0.reduce(0) { $0 &+ Int($1) } }
    return (array.count, text.utf8.count, sum)
  }

  static func errors(_ code: String) async {
    do {
      let peer = try await Peer.connect(to: code)
      await peer.close()
    } catch {
      switch error.code {
      case .nobodyThere: print("Start the other side first.")
      case .wrongCode: print("Compare the code with what the other computer shows.")
      default: print(error)
      }
    }
  }

  static func echo(_ peer: Peer) async throws {
    let channel = try await peer.open("echo")
    try await channel.send("Hello, world!".utf8)
    channel.finish()
    for try await message in channel {
      print(String(decoding: message, as: UTF8.self))
    }
    try await channel.close()
  }

  static func callbacks(_ channel: Channel) {
    channel.onMessage { message in
      print("\(message.count) bytes")
    } onEnd: { error in
      print(error.map { "over: \($0)" } ?? "the other side has finished")
    }
  }

  static func greeting() async throws {
    let peer = try await Peer.connect(to: "482153-lusab-babad@meet.example.org")
    let channel = try await peer.open("greetings")
    try await channel.send("Hello!".utf8)
    await peer.close()
  }

  static func incoming(_ peer: Peer) async throws {
    for await incoming in peer.channels {
      guard incoming.name == "log" else {
        incoming.refuse("only logs here")
        continue
      }
      let channel = try incoming.accept()
      Task {
        for try await line in channel { print(String(decoding: line, as: UTF8.self)) }
      }
    }
  }

  static func serving(_ peer: Peer) {
    peer.onChannel("echo") { channel in
      for try await message in channel {
        try await channel.send(message)
      }
    }
  }

  static func hosting() async throws {
    let host = try await Host.start()
    print("The code is \(host.code)")
    for await peer in host.peers {
      peer.onChannel("echo") { channel in
        for try await message in channel { try await channel.send(message) }
      }
    }
  }

  static func files(_ peer: Peer) async throws {
    for entry in try await peer.files.list("photos") {
      guard entry.attributes?.kind == .file else { continue }
      var size = 0
      for try await chunk in peer.files.read(entry) { size += chunk.count }
      print("\(entry.name): \(size) bytes")
    }
  }

  static func readme(_ code: String) async throws {
    let peer = try await Peer.connect(to: code)
    let channel = try await peer.open("echo")
    try await channel.send("Hello!".utf8)
    for try await message in channel {
      print(String(decoding: message, as: UTF8.self))
      channel.finish()
    }
    await peer.close()
  }
}
