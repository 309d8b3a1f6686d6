import Glibc

/// Carries session descriptions and candidates between two processes of one machine: a Unix socket, which does not
/// care about network namespaces. Each message is `KIND LENGTH\n` and so many bytes of text.
final class SignalingSocket: @unchecked Sendable {
  // `descriptor` never changes; reading is one thread's, writing is a system call for each message.
  private let descriptor: Int32

  struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  /// Listens at `path` for one peer, or connects to who listens there (waits up to 10 s for it).
  init(path: String, listens: Bool) throws {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8CString)
    guard bytes.count <= MemoryLayout.size(ofValue: address.sun_path) else { throw Failure(description: "long path") }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes.map(UInt8.init(bitPattern:))) }
    let length = socklen_t(MemoryLayout<sockaddr_un>.size)
    let socket = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    func call(_ function: (Int32, UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
      withUnsafePointer(to: address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { function(socket, $0, length) }
      }
    }
    if listens {
      unlink(path)
      guard call({ bind($0, $1, $2) }) == 0, listen(socket, 1) == 0 else {
        throw Failure(description: "cannot listen at \(path): errno \(errno)")
      }
      descriptor = accept(socket, nil, nil)
      Glibc.close(socket)
      unlink(path)
      guard descriptor >= 0 else { throw Failure(description: "accept: errno \(errno)") }
    } else {
      var attempts = 0
      while call({ connect($0, $1, $2) }) != 0 {
        attempts += 1
        guard attempts < 1_000 else { throw Failure(description: "nobody listens at \(path)") }
        usleep(10_000)
      }
      descriptor = socket
    }
  }

  /// Sends a message.
  func send(_ kind: String, _ text: String) {
    let bytes = Array("\(kind) \(text.utf8.count)\n\(text)".utf8)
    _ = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
  }

  /// Calls `take` for each message, on a thread of its own, until the peer is gone.
  func receive(_ take: @escaping @Sendable (String, String) -> Void) {
    let reader = Reader(descriptor: descriptor, take: take)
    var thread = pthread_t()
    pthread_create(
      &thread, nil,
      {
        Unmanaged<Reader>.fromOpaque($0!).takeRetainedValue().run()
        return nil
      }, Unmanaged.passRetained(reader).toOpaque())
  }

  private final class Reader {
    let descriptor: Int32
    let take: (String, String) -> Void

    init(descriptor: Int32, take: @escaping (String, String) -> Void) {
      self.descriptor = descriptor
      self.take = take
    }

    func run() {
      while let head = line() {
        let words = head.split(separator: " ")
        guard words.count == 2, let count = Int(words[1]), let text = bytes(count) else { return }
        take(String(words[0]), text)
      }
    }

    private func line() -> String? {
      var line: [UInt8] = []
      while let byte = bytes(1)?.utf8.first {
        if byte == 0x0a { return String(decoding: line, as: UTF8.self) }
        line.append(byte)
      }
      return nil
    }

    private func bytes(_ count: Int) -> String? {
      var bytes: [UInt8] = []
      while bytes.count < count {
        var piece = [UInt8](repeating: 0, count: count - bytes.count)
        let got = read(descriptor, &piece, piece.count)
        guard got > 0 else { return nil }
        bytes += piece[..<got]
      }
      return String(decoding: bytes, as: UTF8.self)
    }
  }
}
