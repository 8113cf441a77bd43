//! What a command sees and reaches, and what not.

use std::{
    fs,
    io::Read,
    net::TcpListener,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    thread,
};

use postrider_exec::contract::End;

use super::job::{Job, is_root, open_to_all, well};

#[test]
fn the_environment_is_ours_alone() {
    let job = Job::new(&["/usr/bin/env"]);
    well(&job, &job.run());
    let mut lines: Vec<String> = job.stdout().lines().map(str::to_owned).collect();
    lines.sort();
    let work = job.dir().join("work").display().to_string();
    let id: String = job.order.job.iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = [
        format!("HOME={work}"),
        "LANG=C.UTF-8".into(),
        "PATH=/usr/local/bin:/usr/bin:/bin".into(),
        "POSTRIDER_JOB_FROM=alice".into(),
        format!("POSTRIDER_JOB_ID={id}"),
        format!("TMPDIR={work}"),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn its_folder_its_mask_and_its_descriptors_are_as_promised() {
    let job = Job::sh(
        "pwd; umask; touch here; cat ../given/a; ls -l /proc/self/fd >fds; cat fds; \
         chmod u+w ../given/a; echo x >../given/a; rm -f ../given/a; echo x >../given/b",
    );
    fs::write(job.place().join("given/a"), "given\n").unwrap();
    assert_eq!(job.finish().end, End::Exited(2), "what it was given is not its own");
    assert_eq!(fs::read(job.dir().join("given/a")).unwrap(), b"given\n");
    let out = job.stdout();
    let mut lines = out.lines();
    assert_eq!(lines.next(), Some(&*job.dir().join("work").display().to_string()));
    assert_eq!((lines.next(), lines.next()), (Some("0077"), Some("given")));
    // 0, 1, 2 and the one that ls lists with.
    let fds: Vec<&str> = lines.filter(|line| line.contains(" -> ")).collect();
    assert_eq!(fds.len(), 4, "{out}");
    let mode = fs::metadata(job.work("here")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn what_the_starter_left_open_is_not_handed_on() {
    let secret = tempfile::tempfile().unwrap();
    rustix::io::fcntl_setfd(&secret, rustix::io::FdFlags::empty()).unwrap();
    let job = Job::sh("ls /proc/self/fd | wc -l");
    well(&job, &job.run());
    assert_eq!(job.stdout().trim(), "4");
}

#[test]
fn files_beyond_its_reach_are_neither_read_nor_written_nor_made_empty() {
    let other = tempfile::tempdir().unwrap();
    open_to_all(other.path());
    let secret = other.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o666)).unwrap();
    let path = secret.display();
    let order = format!(
        "cat {path}; echo x >{path}; truncate -s0 {path}; rm {path}; cat ../order; cat ../lock"
    );
    let job = Job::sh(&order);
    job.run();
    assert_eq!(job.stdout(), "", "{}", job.stderr());
    assert_eq!(fs::read(&secret).unwrap(), b"secret");
}

#[test]
fn what_is_granted_is_read_or_written_and_no_more() {
    let other = tempfile::tempdir().unwrap();
    open_to_all(other.path());
    let (read, write) = (other.path().join("read"), other.path().join("write"));
    for dir in [&read, &write] {
        fs::create_dir(dir).unwrap();
        fs::write(dir.join("file"), "was").unwrap();
        for (path, mode) in [(dir.clone(), 0o777), (dir.join("file"), 0o666)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
    let script = format!(
        "cat {r}/file; echo is >{r}/file; echo new >{r}/new; echo is >{w}/file; echo new >{w}/new",
        r = read.display(),
        w = write.display()
    );
    let job = Job::sh(&script).reach(|reach| {
        reach.read.push(read.clone());
        reach.write.push(write.clone());
        reach.read.push("/nowhere/at/all".into());
    });
    well(&job, &job.run());
    assert_eq!(job.stdout(), "was");
    assert_eq!(fs::read(read.join("file")).unwrap(), b"was");
    assert!(!read.join("new").exists());
    assert_eq!(fs::read(write.join("file")).unwrap(), b"is\n");
    assert_eq!(fs::read(write.join("new")).unwrap(), b"new\n");
}

#[test]
fn what_lies_around_its_folder_may_be_granted() {
    let mut job = Job::sh("");
    let around = job.dir().parent().unwrap().to_owned();
    fs::write(around.join("around"), "seen\n").unwrap();
    let script = format!("cat {}/around; pwd; echo mine > own", around.display());
    job.order.argv = Job::sh(&script).order.argv;
    let job = job.reach(|reach| reach.read.push(around));
    well(&job, &job.run());
    let work = job.dir().join("work");
    assert_eq!(job.stdout(), format!("seen\n{}\n", work.display()));
    assert_eq!(fs::read_to_string(work.join("own")).unwrap(), "mine\n");
}

#[test]
fn temporary_files_go_into_its_own_folder() {
    let job = Job::sh(
        "mktemp; mktemp /tmp/a.XXXXXX || true; echo x >/dev/null; head -c3 /dev/zero | wc -c",
    );
    well(&job, &job.run());
    let first = job.stdout().lines().next().unwrap().to_owned();
    assert!(first.starts_with(&*job.dir().join("work").display().to_string()), "{first}");
    assert!(job.stdout().ends_with("3\n"));
}

/// A shell that says what a connection to this port says.
fn connecting(port: u16) -> Job {
    Job::new(&["/bin/bash", "-c", &format!("exec 3<>/dev/tcp/127.0.0.1/{port} && cat <&3")])
}

#[test]
fn there_is_no_network_unless_it_was_granted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let job = connecting(port);
    let outcome = job.run();
    assert_ne!(outcome.end, End::Exited(0), "{outcome:?}");

    let greet = thread::spawn(move || {
        let (mut link, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut link, b"hello").unwrap();
    });
    let job = connecting(port).reach(|reach| reach.net = true);
    well(&job, &job.run());
    assert_eq!(job.stdout(), "hello");
    greet.join().unwrap();
}

/// Whoever listens on such a socket obeys its user: a way out of every cage.
#[test]
fn no_socket_of_the_machine_is_reached() {
    let other = tempfile::tempdir().unwrap();
    open_to_all(other.path());
    let path = other.path().join("bus");
    let listener = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    let python = "/usr/bin/python3";
    if !std::path::Path::new(python).exists() {
        println!("skipped: there is no {python} here");
        return;
    }
    let script = format!(
        "import socket; s = socket.socket(socket.AF_UNIX); s.connect('{}'); s.send(b'x')",
        path.display()
    );
    let job = Job::new(&[python, "-c", &script]);
    assert_eq!(job.run().end, End::Exited(1), "{}", job.stderr());
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err());
    // The same works where nothing holds it back, or this would show nothing.
    std::process::Command::new(python).args(["-c", &script]).status().unwrap();
    let (mut link, _) = listener.accept().unwrap();
    link.set_nonblocking(false).unwrap();
    assert_eq!(link.read(&mut [0; 8]).unwrap(), 1);
}

#[test]
fn it_has_no_rights_and_cannot_get_any() {
    let job = Job::sh(
        "grep -E '^(CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status; id -u; id -G",
    );
    well(&job, &job.run());
    let out = job.stdout();
    for name in ["CapPrm", "CapEff", "CapAmb"] {
        assert!(out.contains(&format!("{name}:\t0000000000000000")), "{out}");
    }
    assert!(out.contains("NoNewPrivs:\t1") && out.contains("Seccomp:\t2"), "{out}");
    if is_root() {
        assert!(out.contains("CapBnd:\t0000000000000000"), "{out}");
        let own: Vec<u32> = out.lines().rev().take(2).map(|line| line.parse().unwrap()).collect();
        assert!(
            own[0] == own[1] && own[0] >= 1_879_048_192,
            "a user and a group of its own: {out}"
        );
    }
}

#[test]
fn what_opens_cages_is_refused() {
    let job = Job::sh(
        "unshare -U true && echo unshared; mount -t tmpfs x . && echo mounted; \
         kill -9 1 2>/dev/null; strace -V >/dev/null 2>&1 && strace true 2>/dev/null && echo traced; \
         echo done",
    );
    well(&job, &job.run());
    assert_eq!(job.stdout(), "done\n");
}

#[test]
fn another_user_is_refused_where_this_one_cannot_choose() {
    let job = Job::new(&["/usr/bin/id", "-un"]).reach(|reach| reach.user = Some("nobody".into()));
    let outcome = job.run();
    let me = rustix::process::geteuid().as_raw();
    if me == 0 || me == 65534 {
        well(&job, &outcome);
        assert_eq!(job.stdout(), "nobody\n");
    } else {
        assert!(matches!(outcome.end, End::NotBegun(_)), "{outcome:?}");
        assert!(!job.dir().join("started").exists());
    }
}

#[test]
fn ordinary_programs_work() {
    let job = Job::sh(
        "set -e; mkdir a; echo x >a/b; tar cf a.tar a; mkdir c; tar xf a.tar -C c; cmp a/b c/a/b; \
         ln -s b a/l; mv a d; find . | sort | wc -l; seq 100 | xargs -n1 echo | tail -1; date >/dev/null; \
         (echo sub) | cat; sed s/x/y/ d/b",
    );
    well(&job, &job.run());
    assert_eq!(job.stdout(), "8\n100\nsub\ny\n");
    for (program, script) in [
        (
            "/usr/bin/git",
            "git init -q r && cd r && git config user.email a@b && git config user.name a && \
          echo 1 >f && git add f && git commit -qm m && git log --oneline | wc -l",
        ),
        (
            "/usr/bin/python3",
            "python3 -c 'import threading,subprocess,tempfile; \
          t=threading.Thread(target=print,args=(1,)); t.start(); t.join(); tempfile.mkdtemp(); \
          subprocess.run([\"true\"],check=True)'",
        ),
    ] {
        if !std::path::Path::new(program).exists() {
            println!("skipped: there is no {program} here");
            continue;
        }
        let job = Job::sh(script);
        well(&job, &job.run());
        assert_eq!(job.stdout(), "1\n", "{program}");
    }
}
