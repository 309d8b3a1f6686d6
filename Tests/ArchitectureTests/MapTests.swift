import Testing

/// ARCHITECTURE.md's rules about the sources, held against the sources.
@Suite struct MapTests {
  private static let sources = SourceTree.files(in: "Sources")

  @Test func `each target imports the modules that it declares, and no other`() throws {
    let targets = try Targets().all
    #expect(targets.count > 30)
    for target in targets {
      let imports = SourceTree.files(in: target.folder).reduce(into: Set<String>()) { $0.formUnion($1.imports) }
        .subtracting(["Foundation"])
      // Programs of this package's tests are started, not imported.
      #expect(imports == target.modules, "\(target.name)")
    }
  }

  @Test func `the map in ARCHITECTURE.md is that of the sources`() {
    let map = LayerMap().text
    #expect(SourceTree.text("ARCHITECTURE.md").contains("```\n\(map)\n```"), "it should be:\n\(map)")
  }

  /// A module, and the folders of Sources that may import it.
  @Test(arguments: [
    ("P2PFSTransport", ["Meeting", "P2PFS", "p2pfs", "p2pfs-bench"]),
    ("P2PFSSignaling", ["Meeting", "P2PFS", "p2pfs"]),
    ("P2PFSPairing", ["Meeting", "P2PFS", "p2pfs"]),
    ("P2PFSMeeting", ["P2PFS", "p2pfs"]),
    ("P2PFS", []),
    ("CP2PFSNice", ["Transport"]),
    ("CP2PFSUsrsctp", ["Transport"]),
    ("CP2PFSFuse3", ["FUSE"]),
    ("CP2PFSOpenSSL", ["Pairing", "Signaling", "Transfer", "Transport"]),
    ("ArgumentParser", ["p2pfs", "p2pfs-bench"]),
    ("Foundation", []),
  ])
  func `a module is imported where it belongs only`(_ module: String, _ folders: [String]) {
    let found = Set(Self.sources.filter { $0.imports.contains(module) }.map { $0.path.split(separator: "/")[1] })
    #expect(found.subtracting(folders.map { Substring($0) }) == [])
  }

  /// Calls that open a file by its name relative to a directory: those of the user's files.
  @Test func `files of the user are opened by Export only`() {
    let openers = Self.sources.filter { $0.contains("p2pfs_openat") }
    #expect(Set(openers.map { $0.path.split(separator: "/")[1] }) == ["Export"])
  }

  @Test func `Wire reads no clock and does no I-O`() {
    for file in SourceTree.files(in: "Sources/Wire") {
      for call in ["Instant.now", "FileDescriptor", "Glibc.", "Worker("] {
        #expect(!file.contains(call), "\(file.path): \(call)")
      }
    }
  }

  @Test func `no two layers have a type of one name`() {
    var layers: [String: Set<Substring>] = [:]
    for file in Self.sources {
      for type in file.types { layers[type, default: []].insert(file.path.split(separator: "/")[1]) }
    }
    #expect(layers.filter { $0.value.count > 1 }.keys.sorted() == [])
  }

  @Test func `no file is longer than 400 lines, but Limits`() {
    let long = (Self.sources + SourceTree.files(in: "Tests")).filter { $0.lines.count > 401 }.map(\.path)
    #expect(long.filter { $0 != "Sources/Core/Limits.swift" } == [])
  }

  @Test func `ARCHITECTURE.md names files that are there`() {
    let text = SourceTree.text("ARCHITECTURE.md")
    let table = text.split(separator: "\n").filter { $0.hasPrefix("| ") }.joined(separator: "\n")
    let paths = table.matches(of: /`(\w+\/[\w\/+]+\.swift)`/).map { String($0.1) }
    #expect(paths.count > 15)
    for path in paths { #expect(!SourceTree.text("Sources/\(path)").isEmpty, "\(path)") }
  }
}
