import Foundation

/// The targets of the package, as Package.swift declares them.
struct Targets {
  /// One target with Swift sources.
  struct Target: Decodable {
    let name: String
    let path: String?
    let type: String
    let dependencies: [Dependency]

    /// Where its sources are, below the root.
    var folder: String { path ?? (type == "test" ? "Tests/\(name)" : "Sources/\(name)") }
    /// The modules that it may import.
    var modules: Set<String> { Set(dependencies.map(\.name)) }
  }

  /// `{"product": ["NIOCore", "swift-nio", null, null]}`, or the same with `target` or `byName`.
  struct Dependency: Decodable {
    let name: String
    init(from decoder: any Decoder) throws {
      let fields = try decoder.singleValueContainer().decode([String: [String?]].self)
      name = fields.values.first?.first.flatMap { $0 } ?? ""
    }
  }

  private struct Manifest: Decodable { let targets: [Target] }

  /// Every target but the system libraries.
  let all: [Target]

  /// Asks `swift package`, with a scratch directory of its own: the build that runs the tests holds the other one.
  init() throws {
    let scratch = FileManager.default.temporaryDirectory.appendingPathComponent("p2pfs-map-\(UUID())").path
    defer { try? FileManager.default.removeItem(atPath: scratch) }
    let output = Pipe()
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [
      "swift", "package", "--package-path", SourceTree.root, "--scratch-path", scratch, "dump-package",
    ]
    process.standardOutput = output
    try process.run()
    let json = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    all = try JSONDecoder().decode(Manifest.self, from: json).targets.filter { $0.type != "system" }
  }
}
