@testable import P2PFSForward

/// The names of a peer's channels, and the endpoints and rules that a user writes: each has one spelling.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzForward(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let text = String(decoding: UnsafeBufferPointer(start: bytes, count: count), as: UTF8.self)
  if let name = ForwardName(parsing: text) {
    precondition(name.text.utf8.elementsEqual(text.utf8), "a second spelling of a name")
  }
  for use in [Endpoint.Use.connecting, .listening] {
    guard let endpoint = try? Endpoint(parsing: text, for: use) else { continue }
    precondition((try? Endpoint(parsing: endpoint.text, for: use)) == endpoint, "an endpoint reads differently")
  }
  if let rule = try? ForwardPolicy.Rule(parsing: text) {
    precondition((try? ForwardPolicy.Rule(parsing: rule.text)) == rule, "a rule reads differently")
  }
  if let spec = try? ForwardSpec(parsing: text) {
    precondition((try? Endpoint(parsing: spec.listen.text, for: .listening)) == spec.listen)
    precondition((try? Endpoint(parsing: spec.target.text, for: .connecting)) == spec.target)
  }
  return 0
}
