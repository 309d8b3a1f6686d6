extension Sequence where Element: Hashable {
  /// Each of them once, in their order.
  var uniqued: [Element] {
    var seen: Set<Element> = []
    return filter { seen.insert($0).inserted }
  }
}
