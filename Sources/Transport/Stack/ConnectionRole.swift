/// Which of the two session descriptions a side makes.
package enum ConnectionRole: Sendable {
  /// Makes the offer. The controlling side of ICE.
  case offerer
  /// Makes the answer, after it has got the offer.
  case answerer
}
