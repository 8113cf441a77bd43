//! What a job of mine asked for, kept beside it: its bundle is sealed to its target, and nobody here
//! can read it again.

use postrider_base::{
    packet::{Content, FileEntry, Job, Manifest},
    wire,
};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

const VERSION: u8 = 1;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AskedNote(
    u8,
    /// The job's body; without its attachments, where those went in parts.
    ByteBuf,
    /// Then what those were called, how long they are, their hashes.
    Vec<(String, u64, ByteBuf)>,
);

/// As it reads back.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub job: Job,
    /// Attachments that went in parts and are not kept.
    pub gone: Vec<FileEntry>,
}

impl AskedNote {
    pub(super) fn new(job: &Job) -> Self {
        let in_parts = |files: &&Manifest| matches!(files.content, Content::Parts(_));
        let Some(files) = job.files.as_ref().filter(in_parts) else {
            return Self(VERSION, ByteBuf::from(job.encode()), Vec::new());
        };
        let line = |file: &FileEntry| (file.path.join("/"), file.bytes, ByteBuf::from(file.blake3));
        let gone = files.files.iter().map(line).collect();
        let bare = Job { files: None, stdin: None, ..job.clone() };
        Self(VERSION, ByteBuf::from(bare.encode()), gone)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Asked> {
        let Self(_, job, gone) = wire::decode(bytes).ok()?;
        let entry = |(name, bytes, hash): (String, u64, ByteBuf)| {
            Some(FileEntry {
                path: vec![name],
                bytes,
                blake3: hash.as_slice().try_into().ok()?,
                mtime: None,
                executable: false,
                directory: false,
            })
        };
        let gone = gone.into_iter().map(entry).collect::<Option<_>>()?;
        Some(Asked { job: Job::decode(&job).ok()?, gone })
    }
}

impl Asked {
    /// Every attachment, standard input among them.
    pub(super) fn files(&self) -> impl Iterator<Item = &FileEntry> {
        self.job.files.iter().flat_map(|files| &files.files).chain(&self.gone)
    }
}

#[cfg(test)]
mod tests {
    use postrider_base::{
        id::SetId,
        packet::{Answer, PART_BYTES, PartList, Turn},
    };

    use super::*;

    #[test]
    fn a_job_is_kept_whole_unless_its_attachments_went_in_parts() {
        let entry = |bytes| FileEntry {
            path: vec!["in".into()],
            bytes,
            blake3: *blake3::hash(b"hi").as_bytes(),
            mtime: None,
            executable: false,
            directory: false,
        };
        let job = |content, bytes| Job {
            handle: "pump".parse().unwrap(),
            args: vec![b"3".to_vec()],
            turn: Turn::now(60),
            answer: Answer::Full,
            files: Some(Manifest { text: None, files: vec![entry(bytes)], content }),
            stdin: Some(0),
            fleet: None,
            rerun_of: None,
        };
        let small = job(Content::Inline(b"hi".to_vec()), 2);
        let asked = AskedNote::read(&AskedNote::new(&small).encode()).unwrap();
        assert_eq!((asked.job.clone(), asked.files().count()), (small, 1));
        assert!(asked.gone.is_empty());
        let list = PartList {
            set: SetId([1; 16]),
            part_bytes: PART_BYTES,
            total_bytes: 1 << 20,
            hashes: vec![[2; 32]],
        };
        let large = job(Content::Parts(list), 1 << 20);
        let asked = AskedNote::read(&AskedNote::new(&large).encode()).unwrap();
        assert_eq!((&asked.job.files, asked.job.stdin), (&None, None));
        assert_eq!(asked.files().collect::<Vec<_>>(), [&entry(1 << 20)]);
    }
}
