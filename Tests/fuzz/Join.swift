import NIOHTTP1

@testable import P2PFSSignaling

/// The HTTP head by which anybody joins a room: a path in the first line, then `field: value` lines.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzJoin(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let text = String(decoding: UnsafeBufferPointer(start: bytes, count: count), as: UTF8.self)
  var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
  guard !lines.isEmpty else { return 0 }
  var head = HTTPRequestHead(version: .http1_1, method: .GET, uri: lines.removeFirst())
  for line in lines {
    let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    // The HTTP decoder passes fields with names of ASCII only.
    if parts.count == 2, parts[0].utf8.allSatisfy({ $0 < 0x80 }) {
      head.headers.add(name: String(parts[0]), value: String(parts[1].drop { $0 == " " }))
    }
  }
  guard let join = Join(head) else { return 0 }
  var again = HTTPRequestHead(version: .http1_1, method: .GET, uri: join.path)
  for (name, value) in join.fields { again.headers.add(name: name, value: value) }
  guard let second = Join(again) else { preconditionFailure("what it writes is not read") }
  precondition(second.path == join.path && second.fields.count == join.fields.count, "it reads differently")
  return 0
}
