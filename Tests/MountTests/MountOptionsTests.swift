import Rig
import Testing

@testable import P2PFSMount

@Suite(.onThreads) struct MountOptionsTests {
  @Test func `options are read as sshfs users type them`() throws {
    let options = try MountOptions(
      "ro,allow_other,uid=7,gid=8,umask=022,reconnect,idmap=user,attr_timeout=2.5,entry_timeout=0,timeout=60,"
        + "max_read=65536,fsname=a\\,b,noatime,noexec,_netdev,nofail,x-systemd.automount,user,noauto")
    #expect(options.isReadOnly && options.allowsOthers)
    #expect(options.user == 7 && options.group == 8 && options.umask == 0o022)
    #expect(options.attributeTimeout == 2.5 && options.entryTimeout == 0 && options.timeout == 60)
    #expect(options.maxRead == 65536 && options.source == "a,b")
    #expect(options.kernelFlags == ["noatime", "noexec"])
    #expect(options.mountWords.contains("fsname=a\\,b"))
    #expect(options.mountWords.contains("default_permissions"))
  }

  @Test func `nosuid and nodev are always on`() throws {
    let words = try MountOptions("rw,exec").mountWords
    #expect(words.contains("nosuid") && words.contains("nodev") && words.contains("subtype=p2pfs"))
  }

  @Test func `later options win`() throws {
    #expect(try MountOptions("ro,rw").isReadOnly == false)
    #expect(try MountOptions("noexec,exec").kernelFlags.isEmpty)
  }

  @Test(
    arguments: [
      "suid", "dev", "bogus", "uid=x", "uid=-1", "uid", "umask=999", "attr_timeout=-1", "timeout=x", "max_read=1",
      "idmap=file", "fsname=", "attr_timeout=nan", "subtype=x", "allow_root", "uid=4294967295",
    ])
  func `what cannot be had is refused with a reason`(_ text: String) {
    #expect(throws: MountOptions.Refused.self) { try MountOptions(text) }
  }
}
