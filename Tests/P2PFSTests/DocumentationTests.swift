import Glibc
import P2PFS
import Rig
import SystemPackage
import Testing

@testable import DocumentedExamples

/// What the documentation shows compiles, and works.
@Suite(.onThreads, .timeLimit(.minutes(5))) struct DocumentationTests {
  /// This file is Tests/P2PFSTests/DocumentationTests.swift.
  private static let root = FilePath(#filePath).removingLastComponent().removingLastComponent().removingLastComponent()

  private static func lines(of path: FilePath) throws -> [String] {
    let file = try FileDescriptor.open(path, .readOnly)
    return try file.closeAfter {
      var bytes: [UInt8] = []
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 65_536, alignment: 1)
      defer { buffer.deallocate() }
      while case let count = try file.read(into: buffer), count > 0 { bytes += buffer[..<count] }
      return String(decoding: bytes, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
        .map(String.init)
    }
  }

  private static func trimmed(_ line: String) -> String {
    var line = line[...]
    while line.first == " " { line = line.dropFirst() }
    while line.last == " " { line = line.dropLast() }
    return String(line)
  }

  /// The ```swift blocks in a file: in its doc comments, or as they stand in Markdown. Without indentation.
  private static func examples(in path: FilePath) throws -> [[String]] {
    var examples: [[String]] = []
    var current: [String]?
    for line in try lines(of: path).map(trimmed) {
      let text = trimmed(line.hasPrefix("///") ? String(line.dropFirst(3)) : line)
      if current == nil, text == "```swift" {
        current = []
      } else if let example = current, text == "```" {
        examples.append(example)
        current = nil
      } else {
        current?.append(text)
      }
    }
    #expect(current == nil, "an example without an end in \(path)")
    return examples
  }

  @Test func `every example of the documentation stands in the code that is compiled, word for word`() throws {
    let compiled = try Self.lines(of: Self.root.appending("Tests/DocumentedExamples/DocumentedExamples.swift")).map(
      Self.trimmed)
    var count = 0
    for path in [Self.root.appending("README.md")] + sources() {
      for example in try Self.examples(in: path) {
        count += 1
        let isThere = compiled.indices.contains { compiled[$0...].starts(with: example) }
        #expect(isThere, "\(path.lastComponent?.string ?? ""):\n\(example.joined(separator: "\n"))")
      }
    }
    #expect(count >= 10)
  }

  private func sources() -> [FilePath] {
    let folder = Self.root.appending("Sources/P2PFS")
    guard let directory = opendir(folder.string) else { return [] }
    defer { closedir(directory) }
    var paths: [FilePath] = []
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
      }
      if name.hasSuffix(".swift") { paths.append(folder.appending(name)) }
    }
    return paths
  }

  @Test func `the examples say what they say, between two peers`() async throws {
    let place = try TemporaryDirectory()
    mkdir(place.path.appending("photos").string, 0o755)
    try await Loopback.pair(share: .readOnly(place.path.string)) { guest, host in
      DocumentedExamples.serving(guest)
      try await DocumentedExamples.echo(host)
      try await DocumentedExamples.files(host)
      let logging = Task { try await DocumentedExamples.incoming(guest) }
      await expect(.refused) { _ = try await host.open("something else") }
      let log = try await host.open("log")
      try await log.send("a line".utf8)
      try await log.close()
      logging.cancel()
      try await logging.value
      guest.onChannel("answer") { channel in try await channel.send([1, 2, 3]) }
      let channel = try await host.open("answer")
      DocumentedExamples.callbacks(channel)
      try await channel.close()
    }
    let host = try await Host.start(address: "127.0.0.1")
    let serving = Task { for await peer in host.peers { DocumentedExamples.serving(peer) } }
    try await DocumentedExamples.readme(host.code)
    await DocumentedExamples.errors(host.code)
    await host.close()
    await DocumentedExamples.errors(host.code)
    await serving.value
  }
}
