/// What is fuzzed: one function for each parser of what comes from outside, and for the state machines behind them. It traps
/// where an input shows a fault. The unit tests call it with the inputs in Tests/fuzz/corpus, libFuzzer with its own.
let fuzzTargets: [String: @Sendable (UnsafeBufferPointer<UInt8>) -> Void] = [
  "Admission": fuzzAdmission,
  "Channel": fuzzChannel,
  "ChannelMessage": fuzzChannelMessage,
  "ChannelState": fuzzChannelState,
  "Connection": fuzzConnection,
  "Description": fuzzDescription,
  "Forward": fuzzForward,
  "Handshake": fuzzHandshake,
  "Hello": fuzzHello,
  "Join": fuzzJoin,
  "Meeting": fuzzMeeting,
  "Network": fuzzNetwork,
  "Path": fuzzPath,
  "Reply": fuzzReply,
  "Request": fuzzRequest,
  "Signal": fuzzSignal,
  "Source": fuzzSource,
  "Transfer": fuzzTransfer,
]
