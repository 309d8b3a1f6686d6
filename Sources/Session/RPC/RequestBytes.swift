import P2PFSCore
import P2PFSWire

/// Memory that requests take while they wait or are executed, by the two bounds that they count against: the data of
/// writes and appends against the write credit of the exporter's hello, everything else against
/// `Limits.Session.requestBytes`.
///
/// A plain value. Both sides count alike, so that a client that keeps to the protocol never meets the exporter's bound.
struct RequestBytes: Equatable {
  /// Data of writes.
  var data = 0
  /// Messages without that data, and `Limits.Session.requestCost` for each.
  var others = 0

  /// Nothing.
  init() {}

  /// The bounds of what one peer may have here.
  init(data: Int, others: Int) {
    self.data = data
    self.others = others
  }

  /// The cost of one request.
  init(of request: RequestSummary) {
    data = request.dataBytes
    others = request.messageBytes - data + Limits.Session.requestCost
  }

  /// Whether it is within both bounds.
  func fits(in bound: RequestBytes) -> Bool { data <= bound.data && others <= bound.others }

  static func + (one: RequestBytes, other: RequestBytes) -> RequestBytes {
    RequestBytes(data: one.data + other.data, others: one.others + other.others)
  }

  static func += (sum: inout RequestBytes, more: RequestBytes) { sum = sum + more }

  static func -= (sum: inout RequestBytes, less: RequestBytes) {
    sum.data -= less.data
    sum.others -= less.others
  }
}
