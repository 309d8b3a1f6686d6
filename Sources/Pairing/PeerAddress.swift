package import P2PFSCore

/// What `p2pfs mount` is told to mount: `CODE[@SERVER][:/PATH]` or `NAME[@SERVER][:/PATH]`.
///
/// A code has hyphens and a peer's name has none. The path begins at the first `:/` that is not part of a URL's
/// scheme, and may contain anything after it, an `@` too.
package struct PeerAddress: Sendable, Equatable {
  /// Who is mounted.
  package enum Peer: Sendable, Equatable {
    /// Whoever printed this code.
    case code(Code)
    /// Somebody remembered from an earlier meeting, in lower case.
    case name(String)
  }

  /// Who is mounted.
  package let peer: Peer
  /// Where to meet, if it was said.
  package let server: ServerAddress?
  /// The directory inside the share, without slashes around it; empty for all of it. Components are not checked here.
  package let path: String

  /// A source from its parts.
  package init(peer: Peer, server: ServerAddress? = nil, path: String = "") {
    self.peer = peer
    self.server = server
    self.path = path
  }

  /// Reads a source as the command line has it; blanks and quotation marks around it are ignored, and the code is read as
  /// `Code` does.
  package init(parsing text: String) throws(MountSourceError) {
    let text = Self.unquoted(text.trimmingBlanks)
    guard !text.isEmpty else { throw .empty }
    let peerEnd = text.firstIndex { $0 == "@" || $0 == "＠" || $0 == ":" } ?? text.endIndex
    let peer = try Self.peer(text[..<peerEnd])
    var rest = text[peerEnd...]
    var server: ServerAddress?
    if rest.first == "@" || rest.first == "＠" {
      rest = rest.dropFirst()
      let end = Self.endOfServer(rest)
      do { server = try ServerAddress(parsing: String(rest[..<end])) } catch { throw .server(error) }
      rest = rest[end...]
    }
    guard !rest.isEmpty else {
      self.init(peer: peer, server: server)
      return
    }
    guard rest.hasPrefix(":/") else { throw .path }
    var path = rest.dropFirst(2)
    while path.first == "/" { path = path.dropFirst() }
    while path.last == "/" { path = path.dropLast() }
    self.init(peer: peer, server: server, path: String(path))
  }

  /// The text without quotation marks around it that came with it from elsewhere.
  private static func unquoted(_ text: String) -> String {
    let pairs: [Character: Character] = ["\"": "\"", "'": "'", "“": "”", "‘": "’", "„": "“", "«": "»", "`": "`"]
    guard let first = text.first, let last = text.last, text.count > 1, pairs[first] == last else { return text }
    return text.dropFirst().dropLast().trimmingBlanks
  }

  private static func peer(_ text: Substring) throws(MountSourceError) -> Peer {
    guard !text.isEmpty else { throw .noPeer }
    let text = CodeSpelling.plain(text)
    let digits = text.utf8.allSatisfy { (0x30...0x39).contains($0) }
    if text.contains("-") || digits {
      do { return .code(try Code(parsing: text)) } catch { throw .code(error) }
    }
    guard isName(text) else { throw .name }
    return .name(text.lowercased())
  }

  /// Letters, digits, dots and underscores, beginning with a letter or a digit.
  private static func isName(_ text: String) -> Bool {
    guard text.utf8.count <= Limits.Pairing.peerName, let first = text.utf8.first else { return false }
    let plain = { (byte: UInt8) in
      (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
    }
    return plain(first) && text.utf8.allSatisfy { plain($0) || $0 == 0x5F || $0 == 0x2E }
  }

  /// Where SERVER ends: before the first `:/` that does not belong to a scheme.
  private static func endOfServer(_ text: Substring) -> Substring.Index {
    var start = text.startIndex
    while start < text.endIndex {
      if text[start...].hasPrefix("://") {
        start = text.index(start, offsetBy: 3)
      } else if text[start...].hasPrefix(":/") {
        return start
      } else {
        text.formIndex(after: &start)
      }
    }
    return text.endIndex
  }
}

/// Why a text names nothing that could be mounted.
package enum MountSourceError: Error, Equatable, CustomStringConvertible {
  /// Nothing was given.
  case empty
  /// It begins with `@` or `:`.
  case noPeer
  /// The code is not one.
  case code(CodeError)
  /// Neither a code nor a possible name of a peer.
  case name
  /// The server's address is not one.
  case server(ServerAddressError)
  /// A path that does not begin with `:/`.
  case path

  /// A sentence for the user.
  package var description: String {
    switch self {
    case .empty: "Nothing to mount: give a code, as in 482153-lusab-babad."
    case .noPeer: "The code is missing before the server or the path."
    case .code(let error): error.description
    case .name: "A peer's name is made of letters, digits, dots and underscores."
    case .server(let error): error.description
    case .path: "A path begins with \":/\", as in 482153-lusab-babad:/photos."
    }
  }
}
