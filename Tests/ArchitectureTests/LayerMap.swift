/// The layers and what each imports, as the sources have it, drawn as text.
struct LayerMap {
  /// For each folder of Sources, the folders whose modules it imports.
  let imports: [String: Set<String>]

  init() {
    var imports: [String: Set<String>] = [:]
    for folder in SourceTree.folders(in: "Sources") where folder != "p2pfs-bench" {
      let modules = SourceTree.files(in: "Sources/\(folder)").reduce(into: Set<String>()) { $0.formUnion($1.imports) }
      imports[folder] = Set(modules.compactMap(LayerMap.folder))
    }
    self.imports = imports
  }

  /// The folder of one of our modules; nil for another.
  private static func folder(_ module: String) -> String? {
    if module.hasPrefix("CP2PFS") { return "C" + module.dropFirst(6) }
    if module == "P2PFS" { return module }
    return module.hasPrefix("P2PFS") ? String(module.dropFirst(5)) : nil
  }

  /// Everything that a layer reaches through what it imports.
  private func reach(_ folder: String) -> Set<String> {
    (imports[folder] ?? []).reduce(into: Set<String>()) { $0.formUnion(reach($1).union([$1])) }
  }

  /// How many layers lie below this one, the longest way down.
  private func height(_ folder: String) -> Int { ((imports[folder] ?? []).map(height).max() ?? -1) + 1 }

  /// A line for each layer, the highest first: its imports, without those that another of them brings.
  var text: String {
    let width = imports.keys.map(\.count).max() ?? 0
    let layers = imports.keys.sorted { (-height($0), $0) < (-height($1), $1) }
    return layers.map { layer in
      let direct = imports[layer] ?? []
      let needed = direct.filter { one in !direct.contains { $0 != one && reach($0).contains(one) } }
      let name = layer + String(repeating: " ", count: width - layer.count)
      return "\(name)  \(needed.sorted().joined(separator: " "))"
    }.joined(separator: "\n")
  }
}
