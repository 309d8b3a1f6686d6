import Glibc

/// The repository's text, as the tests of the map read it.
struct SourceTree {
  /// One Swift file: its path below the root, and its lines.
  struct File {
    let path: String
    let lines: [Substring]

    /// The modules that it imports, those of the toolchain left out.
    var imports: Set<String> {
      Set(
        topLevel.compactMap { words in
          guard let index = words.firstIndex(of: "import"), index <= 1, let module = words.last else { return nil }
          return ["Glibc", "Synchronization", "Testing", "Dispatch"].contains(module) ? nil : String(module)
        })
    }

    /// The types at the file's top level that other files can name; `typealias` is none.
    var types: [String] {
      topLevel.compactMap { words in
        guard let index = words.firstIndex(where: SourceTree.kinds.contains), words.count > index + 1,
          !words[..<index].contains(where: { $0.hasSuffix("private") })
        else { return nil }
        return String(words[index + 1].prefix { $0.isLetter || $0.isNumber || $0 == "_" })
      }
    }

    /// The words of each line that is not indented, up to 8 of them.
    private var topLevel: [[Substring]] {
      lines.filter { $0.utf8.first.map { $0 >= UInt8(ascii: "@") && $0 <= UInt8(ascii: "z") } == true }
        .map { $0.split(separator: " ", maxSplits: 8) }
    }

    /// Whether the text stands anywhere in the file.
    func contains(_ text: String) -> Bool { lines.contains { SourceTree.find(text, in: $0) } }
  }

  fileprivate static let kinds: Set<Substring> = ["class", "struct", "enum", "actor", "protocol"]

  /// Whether `text` stands in `line`, by bytes: the collection algorithms are slow in a debug build.
  static func find(_ text: String, in line: Substring) -> Bool {
    var (text, line) = (text, line)
    return line.withUTF8 { line in
      text.withUTF8 { text in
        var rest = UnsafeRawBufferPointer(line)
        while rest.count >= text.count, let start = memchr(rest.baseAddress!, Int32(text[0]), rest.count) {
          rest = UnsafeRawBufferPointer(rebasing: rest[(UnsafeRawPointer(start) - rest.baseAddress!)...])
          if rest.count >= text.count, memcmp(rest.baseAddress!, text.baseAddress!, text.count) == 0 { return true }
          rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst())
        }
        return false
      }
    }
  }

  /// The root of the repository.
  static let root = #filePath.split(separator: "/").dropLast(3).map { "/\($0)" }.joined()

  /// The text of a file below the root; empty if there is none.
  static func text(_ path: String) -> String {
    guard let file = fopen("\(root)/\(path)", "re") else { return "" }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var block = [UInt8](repeating: 0, count: 65_536)
    while case let count = fread(&block, 1, block.count, file), count > 0 { bytes += block[..<count] }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// The Swift files below `directory`, in the order of their paths.
  static func files(in directory: String) -> [File] {
    guard let stream = opendir("\(root)/\(directory)") else { return [] }
    defer { closedir(stream) }
    var found: [File] = []
    while let entry = readdir(stream) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      let path = "\(directory)/\(name)"
      if name.hasPrefix(".") { continue }
      if entry.pointee.d_type == DT_DIR {
        found += files(in: path)
      } else if name.hasSuffix(".swift") {
        found.append(File(path: path, lines: text(path).split(separator: "\n", omittingEmptySubsequences: false)))
      }
    }
    return found.sorted { $0.path < $1.path }
  }

  /// The names of the folders in `directory`.
  static func folders(in directory: String) -> [String] {
    Set(files(in: directory).map { String($0.path.split(separator: "/")[1]) }).sorted()
  }
}
