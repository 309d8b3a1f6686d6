import Rig
import Testing

/// What a user does, with the real programs. Few tests run at once: they share the machine's cores.
@Suite(.heavy)
struct EndToEnd {
  /// Exports a directory of one computer and mounts it on another, both on this machine, through the signaling
  /// server that the exporter brings along. `E` is the export, `M` the mount, in both computers' scripts.
  static func pair(
    export options: [String] = [], mount mountOptions: [String] = [],
    prepare: (Computer, String) throws -> Void = { _, _ in },
    _ body: (Pair) throws -> Void
  ) throws {
    try Stage.run { stage in
      let (a, b) = (try stage.computer("a"), try stage.computer("b"))
      let export = a.makeDirectory("export")
      try prepare(a, export)
      let exporter = try Exporter(a.startP2PFS(["export", export] + options))
      let mounted = try b.mount(exporter.code, on: "mnt", mountOptions)
      try body(Pair(stage: stage, a: a, b: b, export: export, exporter: exporter, mounted: mounted))
    }
  }
}

/// An exported directory, and its mount on another computer.
struct Pair {
  let stage: Stage
  /// The exporter's computer.
  let a: Computer
  /// The guest's computer.
  let b: Computer
  let export: String
  let exporter: Exporter
  let mounted: Mounted

  private var variables: [String: String] { ["E": export, "M": mounted.point] }

  /// Runs a script on the guest's computer; it must succeed.
  @discardableResult
  func guest(_ script: String, seconds: Double = 60, at location: SourceLocation = #_sourceLocation) throws -> String {
    try b.shell(script, variables, seconds: seconds, at: location)
  }

  /// Runs a script on the exporter's computer; it must succeed.
  @discardableResult
  func host(_ script: String, seconds: Double = 60, at location: SourceLocation = #_sourceLocation) throws -> String {
    try a.shell(script, variables, seconds: seconds, at: location)
  }

  /// Starts a script on the guest's computer.
  func start(_ script: String) throws -> Child {
    try b.start(["bash", "-euo", "pipefail", "-c", script], environment: variables)
  }

  /// What the guest's computer says when a command must fail.
  func failure(of script: String, at location: SourceLocation = #_sourceLocation) throws -> String {
    let outcome = try b.run(["bash", "-euo", "pipefail", "-c", script], environment: variables)
    guard outcome.status != 0 else { throw StageError("line \(location.line): this should have failed: \(script)") }
    return outcome.errors
  }
}
