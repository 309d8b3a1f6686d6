/// Gives bytes of a stranger to every parser of this layer, for fuzzers: each may throw, none may trap.
package func parseAnything(_ bytes: UnsafeRawBufferPointer) {
  let text = String(decoding: bytes, as: UTF8.self)
  if let description = try? SessionDescription(parsing: text) {
    // What is accepted must be readable again.
    let again = try? SessionDescription(parsing: description.text)
    precondition(again == description, "a description changes when it is written and read")
  }
  if let candidate = try? Candidate.parse(text) {
    precondition((try? Candidate.parse(candidate.description)) == candidate, "a candidate changes")
  }
  _ = try? DataChannelEstablishment(parsing: bytes)
  _ = ICEServer(uri: text)
}
