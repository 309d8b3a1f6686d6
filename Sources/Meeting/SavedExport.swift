import P2PFSCore

/// What an export remembers, so that it can be started again with the same room and code, and mounts go on.
struct SavedExport: Equatable {
  /// A guest's session that may come back.
  struct Guest: Equatable {
    /// The session's name, 16 bytes.
    var identity: [UInt8]
    /// What both derive the room and the key of their next meeting from.
    var resumption: [UInt8]
  }

  var code: String
  /// What lets the host of the room reclaim it from the signaling server.
  var token: [UInt8]
  /// Wrong codes seen since the code was made.
  var wrongAttempts = 0
  /// The port of the signaling server of its own.
  var port: Int?
  var guests: [Guest] = []

  /// One fact a line: a word, then its values. Unknown words are ignored; nil if the code or token is missing.
  init?(parsing text: String) {
    code = ""
    token = []
    for line in text.split(separator: "\n") {
      let words = line.split(separator: " ").map(String.init)
      switch (words.first, words.count) {
      case ("code", 2): code = words[1]
      case ("token", 2): token = Hex.decode(words[1]) ?? []
      case ("wrong-attempts", 2): wrongAttempts = min(max(Int(words[1]) ?? 0, 0), Limits.Pairing.attempts)
      case ("port", 2): port = Int(words[1])
      case ("guest", 3):
        if let identity = Hex.decode(words[1]), identity.count == 16,
          let resumption = Hex.decode(words[2])
        {
          guests.append(Guest(identity: identity, resumption: resumption))
        }
      default: break
      }
    }
    guard !code.isEmpty, !token.isEmpty else { return nil }
  }

  init(code: String, token: [UInt8]) {
    self.code = code
    self.token = token
  }

  /// The text that `init(parsing:)` reads.
  var text: String {
    var lines = ["code \(code)", "token \(Hex.encode(token))", "wrong-attempts \(wrongAttempts)"]
    if let port { lines.append("port \(port)") }
    for guest in guests { lines.append("guest \(Hex.encode(guest.identity)) \(Hex.encode(guest.resumption))") }
    return lines.joined(separator: "\n") + "\n"
  }

  /// Where the memory of the export of `directory` (an absolute path) lies, or what else is remembered under a text;
  /// nil without a home.
  static func path(_ kind: String = "exports", for directory: String) -> String? {
    // FNV-1a, 64 bits: only to tell directories apart, and the name says which is which.
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in directory.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    let name = directory.utf8.suffix(60).map { byte -> Character in
      let isPlain = (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
      return isPlain ? Character(UnicodeScalar(byte)) : "-"
    }
    return StateDirectory.path(kind, String(name) + "-" + String(hash, radix: 16))
  }

  /// The ports at which guests of this user's exports look for them, whether these run or not: whoever chooses a port
  /// takes another one. Of the first `Limits.Session.savedExports` that the directory shows.
  /// - Parameter directory: where exports are remembered.
  static func portsOfGuests(in directory: String) -> Set<UInt16> {
    let names = StateDirectory.files(in: directory, atMost: Limits.Session.savedExports)
    let ports = names.filter { !$0.hasSuffix(".lock") && !$0.hasSuffix(".new") }.compactMap { name -> UInt16? in
      guard let saved = StateDirectory.read(directory + "/" + name).flatMap(SavedExport.init(parsing:)),
        !saved.guests.isEmpty
      else { return nil }
      return saved.port.flatMap(UInt16.init(exactly:))
    }
    return Set(ports)
  }

  /// As above, of the user who runs this.
  static func portsOfGuests() -> Set<UInt16> {
    StateDirectory.path("exports", "").map { portsOfGuests(in: String($0.dropLast())) } ?? []
  }

  /// Where the journal of a guest's session lies, of the export that is remembered at `path`.
  static func journal(of identity: [UInt8], beside path: String) -> String {
    path + ".journals/" + Hex.encode(identity)
  }

  /// Makes the directory of the journals, and removes from it those of all other sessions.
  static func keepJournals(of identities: [[UInt8]], beside path: String) {
    StateDirectory.keepFiles(Set(identities.map { Hex.encode($0) }), in: path + ".journals")
  }
}
