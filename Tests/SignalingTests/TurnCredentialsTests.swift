import Testing

@testable import P2PFSSignaling

@Suite struct TurnCredentialsTests {
  @Test("Credentials are what coturn computes from the same secret")
  func knownVector() {
    // printf '1700000000:p2pfs' | openssl dgst -sha1 -hmac north -binary | base64
    let credentials = TurnCredentials(secret: "north", expiry: 1_700_000_000, name: "p2pfs")
    #expect(credentials.username == "1700000000:p2pfs")
    #expect(credentials.password == "A5liv3yR87wJZD0y4Q7VeGkCk1Q=")
  }
}
