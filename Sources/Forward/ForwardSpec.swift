/// One `-L` or `-R` as ssh(1) has it: a listening address and a destination.
///
/// ```
/// [bind_address:]port:host:hostport      [bind_address:]port:/remote/socket
/// /local/socket:host:hostport            /local/socket:/remote/socket
/// ```
/// IPv6 addresses are in brackets; a backslash escapes the next character. Without a bind address it is localhost; an
/// empty one, or `*`, is all addresses.
package struct ForwardSpec: Sendable, Hashable {
  /// The listening address.
  package let listen: Endpoint
  /// The destination, on the other computer.
  package let target: Endpoint

  /// A forward from `listen` to `target`.
  package init(listen: Endpoint, target: Endpoint) {
    self.listen = listen
    self.target = target
  }

  /// Parses a forward of the command line.
  package init(parsing text: String) throws(ForwardSyntaxError) {
    var fields = try Self.fields(text)[...]
    listen = try Self.listen(&fields, of: text)
    guard let first = fields.popFirst() else { throw Self.malformed(text) }
    if first.isPath {
      target = try Endpoint(path: first.text)
    } else {
      guard let port = fields.popFirst(), !port.isPath else { throw Self.malformed(text) }
      target = try Endpoint(host: first.text, port: port.text, for: .connecting)
    }
    guard fields.isEmpty else { throw Self.malformed(text) }
  }

  /// The shortest text that parses as this forward.
  var text: String {
    var listen = Self.field(self.listen)
    if case .tcp("localhost", let port) = self.listen { listen = "\(port)" }
    return "\(listen):\(Self.field(target))"
  }

  /// An endpoint as a field: a colon or backslash in a path is escaped.
  private static func field(_ endpoint: Endpoint) -> String {
    guard case .unix(let path) = endpoint else { return endpoint.text }
    var text = String.UnicodeScalarView()
    for scalar in path.unicodeScalars {
      if scalar == ":" || scalar == "\\" { text.append("\\") }
      text.append(scalar)
    }
    return String(text)
  }

  private typealias Field = (text: String, isPath: Bool)

  private static func listen(
    _ fields: inout ArraySlice<Field>, of text: String
  ) throws(ForwardSyntaxError) -> Endpoint {
    guard let first = fields.popFirst() else { throw malformed(text) }
    if first.isPath { return try Endpoint(path: first.text) }
    // What remains is HOST:HOSTPORT or a path: if there is one field more, this one is the address and the next the
    // port.
    let rest = fields.last.map { $0.isPath ? 1 : 2 } ?? 0
    switch fields.count - rest {
    case 0: return try Endpoint(host: "localhost", port: first.text, for: .listening)
    case 1:
      guard let port = fields.popFirst() else { throw malformed(text) }
      return try Endpoint(host: first.text, port: port.text, for: .listening)
    default: throw malformed(text)
    }
  }

  /// Splits at colons outside of brackets that are not escaped.
  private static func fields(_ text: String) throws(ForwardSyntaxError) -> [Field] {
    var fields: [Field] = []
    // Split unicode scalars: a leading combining mark would merge with the colon into one Character.
    var field = String.UnicodeScalarView()
    var isEscaped = false
    var isInBrackets = false
    for scalar in text.unicodeScalars {
      if isEscaped {
        field.append(scalar)
        isEscaped = false
        continue
      }
      switch scalar {
      case "\\": isEscaped = true
      case ":" where !isInBrackets:
        fields.append((String(field), field.first == "/"))
        field = .init()
      default:
        if scalar == "[", field.isEmpty { isInBrackets = true }
        if scalar == "]" { isInBrackets = false }
        field.append(scalar)
      }
    }
    guard !isEscaped, !isInBrackets, fields.count <= 4 else { throw malformed(text) }
    fields.append((String(field), field.first == "/"))
    return fields
  }

  private static func malformed(_ text: String) -> ForwardSyntaxError {
    ForwardSyntaxError(
      "\(text): give [ADDRESS:]PORT:HOST:HOSTPORT, with paths of sockets in place of either side if wanted")
  }
}
