import Foundation

/// A Python process that is one WebRTC peer by aiortc (pip install aiortc).
///
/// Only this file uses Foundation, for JSON and processes; it is a test's.
final class AiortcPeer: @unchecked Sendable {
  // Used by one test at a time; the reading thread only yields to `lines`.
  private let process = Process()
  private let input = Pipe()
  private var lines: AsyncStream<String>.Iterator

  struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  /// Starts it as "offer" or "answer".
  init(role: String) throws {
    let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("aiortc_peer.py")
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["python3", script.path, role]
    process.standardInput = input
    let output = Pipe()
    process.standardOutput = output
    let (stream, continuation) = AsyncStream.makeStream(of: String.self)
    lines = stream.makeAsyncIterator()
    try process.run()
    let handle = output.fileHandleForReading
    Thread.detachNewThread {
      var pending = Data()
      while true {
        let data = handle.availableData
        guard !data.isEmpty else { break }
        pending.append(data)
        while let end = pending.firstIndex(of: 0x0a) {
          continuation.yield(String(decoding: pending[..<end], as: UTF8.self))
          pending.removeSubrange(...end)
        }
      }
      continuation.finish()
    }
  }

  deinit { if process.isRunning { process.terminate() } }

  /// The next line that has `key`; others (states on the way) are passed over.
  func next(having key: String) async throws -> [String: String] {
    while let line = await nextLine() {
      let message = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: String] ?? [:]
      if message[key] != nil { return message }
    }
    throw Failure(description: "the aiortc peer ended; is aiortc installed (python3 -m pip install aiortc)?")
  }

  /// Waits for an event.
  func event(_ name: String) async throws {
    while try await next(having: "event")["event"] != name {}
  }

  private func nextLine() async -> String? {
    var iterator = lines
    defer { lines = iterator }
    return await iterator.next()
  }

  func send(_ message: [String: String]) throws {
    var data = try JSONSerialization.data(withJSONObject: message)
    data.append(0x0a)
    try input.fileHandleForWriting.write(contentsOf: data)
  }

  /// Ends its input, and waits until it has gone.
  func finish() async throws -> Int32 {
    try input.fileHandleForWriting.close()
    while await nextLine() != nil {}
    process.waitUntilExit()
    return process.terminationStatus
  }
}
