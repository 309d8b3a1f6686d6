import P2PFSCore
import SystemPackage
import Testing

@Suite struct PathBytesTests {
  @Test(
    arguments: [
      [], [0x61], Array("grün/日本/🙂".utf8), [0xe9], [0x61, 0xff, 0x62], [0xc3], [0xc3, 0x28], [0xe4, 0xb8],
      [0xf0, 0x9f, 0x99],
      [0xed, 0xa0, 0x80], [0xc0, 0xaf], [0xf4, 0x90, 0x80, 0x80], [0xf5, 0x80], [0x80], [0xcc, 0x81],
      [0x2f, 0xcc, 0x81],
      // U+10FE80 and U+10FEFF themselves, beside their neighbours.
      [0xf4, 0x8f, 0xba, 0x80], [0xf4, 0x8f, 0xbb, 0xbf], [0xf4, 0x8f, 0xb9, 0xbf], [0xf4, 0x8f, 0xbc, 0x80],
    ] as [[UInt8]])
  func `every name is a text of its own, and that name again`(_ bytes: [UInt8]) {
    let text = String(pathBytes: bytes)
    #expect(text.pathBytes == bytes)
    #expect(text.withPath { pointer in String(path: pointer) } == text)
    #expect(text.filePath.withPlatformString { String(path: $0) } == text)
  }

  @Test func `all bytes, in all orders of two`() {
    for first in UInt8.min...UInt8.max {
      for second in UInt8.min...UInt8.max {
        let bytes = [first, second, 0x61]
        #expect(String(pathBytes: bytes).pathBytes == bytes)
      }
    }
  }

  @Test func `what is UTF-8 is itself`() {
    #expect(String(pathBytes: Array("grün".utf8)) == "grün")
    #expect(!"grün \u{10fe7f}".hasEscapedBytes)
    #expect(String(pathBytes: [0x61, 0xe9]).unicodeScalars.map(\.value) == [0x61, 0x10_fee9])
  }
}
