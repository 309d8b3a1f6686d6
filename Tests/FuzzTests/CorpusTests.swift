import Glibc
import Rig
import SystemPackage
import Testing

/// The inputs that were kept from fuzzing (Tests/fuzz/corpus): one for each branch that it found, and each that has
/// shown a fault once.
@Suite struct CorpusTests {
  private static let corpus = FilePath(#filePath).removingLastComponent().removingLastComponent()
    .appending("fuzz/corpus")

  @Test(arguments: fuzzTargets.keys.sorted()) func `no input shows a fault`(target: String) async {
    #expect(CorpusTests.inputs(of: target).count >= 5)
    // In a process of its own: a fault traps.
    await #expect(processExitsWith: .success) { [target] in
      let body = try #require(fuzzTargets[target])
      for input in CorpusTests.inputs(of: target) { input.withUnsafeBufferPointer(body) }
      [].withUnsafeBufferPointer(body)
    }
  }

  @Test func `each directory of the corpus has a target`() {
    #expect(Set(namesInDirectory(CorpusTests.corpus)) == Set(fuzzTargets.keys))
  }

  private static func inputs(of target: String) -> [[UInt8]] {
    let directory = corpus.appending(target)
    return namesInDirectory(directory).compactMap { try? contents(of: directory.appending($0)) }
  }

  private static func contents(of path: FilePath) throws -> [UInt8] {
    let file = try FileDescriptor.open(path, .readOnly)
    return try file.closeAfter {
      try Array(unsafeUninitializedCapacity: 1 << 16) { buffer, count in
        count = try file.read(into: UnsafeMutableRawBufferPointer(buffer))
      }
    }
  }
}
