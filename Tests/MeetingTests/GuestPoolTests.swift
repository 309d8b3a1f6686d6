import P2PFSCore
import Testing

@testable import P2PFSMeeting

@Suite struct GuestPoolTests {
  /// What man p2pfs-export(1) promises: all that its guests can make an exporter hold for their requests for files.
  @Test func sixteenGuestsStayBelow64MB() {
    var pool = GuestPool()
    var sum = 0
    for _ in 0..<Limits.Session.guests {
      let allowance = pool.grant()
      #expect(allowance.writeCredit >= Limits.Session.leastWriteCredit)
      sum += allowance.writeCredit + Limits.Session.requestBytes
      // One long answer may exceed the backlog, half of which is free then.
      sum += max(allowance.backlog, allowance.backlog / 2 + Limits.Wire.read) + Limits.Session.shortAnswers
      sum += Limits.Session.requests * Limits.Session.keptAnswer
      sum += Limits.Export.listings * Limits.Export.directoryBuffer
      sum += Limits.Export.ownOpenFiles * Limits.Export.openFileCost
    }
    sum += Limits.Export.sharedOpenFiles * Limits.Export.openFileCost
    #expect(sum <= 64_000_000)
  }

  @Test func whoIsAwayMakesRoomForThoseWhoCome() {
    var pool = GuestPool()
    var grants: [GuestPool.Allowance] = []
    #expect(!pool.isScarce)
    while !pool.isScarce { grants.append(pool.grant()) }
    #expect(grants.count >= 4 && grants.allSatisfy { $0 != .least })
    for grant in grants {
      pool.reclaim(grant)
      #expect(pool.grantLeast() == .least)
    }
    #expect(!pool.isScarce && pool.grant() != .least)
  }

  @Test func whatIsGivenBackIsThereAgain() {
    var pool = GuestPool()
    let first = pool.grant()
    let second = pool.grant()
    #expect(second.writeCredit < first.writeCredit && second.backlog < first.backlog)
    pool.reclaim(second)
    pool.reclaim(first)
    #expect(pool.grant() == first)
  }
}
