import P2PFSCore
import P2PFSPairing

/// What `p2pfs mount` is given on the command line: a code or a name, a server, a path.
func fuzzSource(_ input: UnsafeBufferPointer<UInt8>) {
  let text = String(decoding: input, as: UTF8.self)
  if let code = try? Code(parsing: text) {
    precondition((try? Code(parsing: code.text)) == code, "the code reads differently the second time")
  }
  if let server = try? ServerAddress(parsing: text) {
    precondition((try? ServerAddress(parsing: server.description)) == server, "so does the server")
    precondition((try? ServerAddress(parsing: server.url)) != nil, "its URL is none")
  }
  if let source = try? PeerAddress(parsing: text) { precondition(!source.path.hasPrefix("/")) }
}
