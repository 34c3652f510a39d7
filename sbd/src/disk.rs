//! One disk, a sector or a few at a time. All I/O happens on a thread of its own and has a deadline: what blocks on a dead disk
//! is that thread and nobody else.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::layout::SECTOR_SIZES;
use crate::sys;

/// Time allowed for one read or write unless another is asked for: as SBD's.
pub const IO_TIMEOUT: Duration = Duration::from_secs(3);
/// What direct I/O wants buffers aligned to at most.
const ALIGNMENT: usize = 4096;
/// Stack of the thread: it may be locked in memory.
const STACK_BYTES: usize = 128 << 10;

enum Job {
    /// From this sector so many bytes.
    Read(u64, usize),
    Write(u64, Vec<u8>),
}

/// What opening found out.
#[derive(Clone, Copy)]
struct Shape {
    sector_size: u32,
    sectors: u64,
}

/// An open disk.
pub struct Disk {
    path: PathBuf,
    shape: Shape,
    timeout: Duration,
    jobs: Sender<Job>,
    answers: Receiver<io::Result<Vec<u8>>>,
    /// Answers of jobs that were given up: they come first, in order.
    owed: usize,
}

impl Disk {
    /// Opens the block device (or, for trials on one machine, the file) at `path`. Each read and write is given
    /// `timeout`.
    ///
    /// # Errors
    /// When it cannot be opened within that time, or is no disk.
    pub fn open(path: &Path, timeout: Duration) -> Result<Disk> {
        Disk::open_on(path, timeout, || {})
    }

    /// The same; `on_thread` runs first on the thread that does the I/O, to set its priority.
    ///
    /// # Errors
    /// As [`Disk::open`].
    pub fn open_on(
        path: &Path,
        timeout: Duration,
        on_thread: impl FnOnce() + Send + 'static,
    ) -> Result<Disk> {
        let (jobs, queue) = channel();
        let (answer, answers) = channel();
        let (opened, shape) = channel();
        let place = path.to_path_buf();
        let spawned = thread::Builder::new()
            .name("sbd-io".into())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                on_thread();
                match open(&place) {
                    Ok((file, shape)) => {
                        let _ = opened.send(Ok(shape));
                        serve(&file, shape, &queue, &answer);
                    }
                    Err(error) => drop(opened.send(Err(error))),
                }
            });
        let failed = |source| Error::Open {
            path: path.to_path_buf(),
            source,
        };
        spawned.map_err(failed)?;
        let shape = match shape.recv_timeout(timeout) {
            Ok(shape) => shape?,
            Err(_) => return Err(late(path, "opening it", timeout)),
        };
        Ok(Disk {
            path: path.to_path_buf(),
            shape,
            timeout,
            jobs,
            answers,
            owed: 0,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of a sector.
    #[must_use]
    pub fn sector_size(&self) -> u32 {
        self.shape.sector_size
    }

    /// How many sectors it has.
    #[must_use]
    pub fn sectors(&self) -> u64 {
        self.shape.sectors
    }

    /// Time allowed for one read or write.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Reads a sector.
    ///
    /// # Errors
    /// When the device fails, or does not answer in time.
    pub fn read(&mut self, sector: u64) -> Result<Vec<u8>> {
        self.read_many(sector, 1)
    }

    /// Reads `count` sectors. Each is as it was at some moment of the reading, not all at one.
    ///
    /// # Errors
    /// When the device fails, or does not answer in time.
    pub fn read_many(&mut self, sector: u64, count: usize) -> Result<Vec<u8>> {
        let bytes = count * self.shape.sector_size as usize;
        self.run(Job::Read(sector, bytes), "reading", sector)
    }

    /// Writes a sector, or several. After an error it may have been written all the same, or may be written yet.
    ///
    /// # Errors
    /// When the device fails, or does not answer in time.
    pub fn write(&mut self, sector: u64, bytes: &[u8]) -> Result<()> {
        self.run(Job::Write(sector, bytes.to_vec()), "writing", sector)
            .map(drop)
    }

    /// `disk`, whose thread acknowledges writes to `sector` and forgets them.
    #[cfg(test)]
    pub(crate) fn forgetful(mut disk: Disk, sector: u64) -> Disk {
        let (jobs, queue) = channel();
        let (answer, answers) = channel();
        let kept = Disk {
            path: disk.path.clone(),
            jobs,
            answers,
            ..disk
        };
        thread::spawn(move || {
            for job in queue {
                let done = match job {
                    Job::Write(at, _) if at == sector => Ok(Vec::new()),
                    Job::Write(at, bytes) => disk.write(at, &bytes).map(|()| Vec::new()),
                    Job::Read(at, _) => disk.read(at),
                };
                let _ = answer.send(done.map_err(io::Error::other));
            }
        });
        kept
    }

    /// One job at a time: as long as one that was given up has not ended, no other begins. So no read that succeeds is
    /// overtaken by an older write.
    fn run(&mut self, job: Job, what: &'static str, sector: u64) -> Result<Vec<u8>> {
        let deadline = Instant::now() + self.timeout;
        while self.owed > 0 {
            self.answer(deadline, what)?.ok();
            self.owed -= 1;
        }
        let failed = |source| Error::Io {
            path: self.path.clone(),
            what,
            sector,
            source,
        };
        if self.jobs.send(job).is_err() {
            return Err(failed(io::Error::other("its thread ended")));
        }
        match self.answer(deadline, what) {
            Ok(done) => done.map_err(failed),
            Err(error) => {
                self.owed += 1;
                Err(error)
            }
        }
    }

    fn answer(&self, deadline: Instant, what: &'static str) -> Result<io::Result<Vec<u8>>> {
        match self
            .answers
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            Ok(answer) => Ok(answer),
            Err(RecvTimeoutError::Timeout) => Err(late(&self.path, what, self.timeout)),
            Err(RecvTimeoutError::Disconnected) => Ok(Err(io::Error::other("its thread ended"))),
        }
    }
}

fn late(path: &Path, what: &'static str, after: Duration) -> Error {
    Error::Timeout {
        path: path.to_path_buf(),
        what,
        after,
    }
}

fn open(path: &Path) -> Result<(File, Shape)> {
    let failed = |source| Error::Open {
        path: path.to_path_buf(),
        source,
    };
    let kind = std::fs::metadata(path).map_err(failed)?.file_type();
    if !kind.is_block_device() && !kind.is_file() {
        return Err(Error::NoDisk {
            path: path.to_path_buf(),
        });
    }
    // Every node has to see what another wrote, so nothing may be kept in this one's page cache. A file is for trials on
    // one machine, where all share the cache; not every file system could do without.
    let direct = if kind.is_block_device() { libc::O_DIRECT } else { 0 };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_SYNC | direct)
        .open(path)
        .map_err(failed)?;
    let sector_size = if kind.is_block_device() {
        sys::sector_size(&file).map_err(failed)?
    } else {
        SECTOR_SIZES[0]
    };
    if !SECTOR_SIZES.contains(&sector_size) {
        let text = format!("its sectors have {sector_size} bytes, 512 and 4096 are known");
        return Err(failed(io::Error::other(text)));
    }
    let bytes = io::Seek::seek(&mut &file, io::SeekFrom::End(0)).map_err(failed)?;
    let sectors = bytes / u64::from(sector_size);
    Ok((file, Shape { sector_size, sectors }))
}

/// So many bytes of `store` that direct I/O takes; it grows when it has to.
fn aligned(store: &mut Vec<u8>, bytes: usize) -> &mut [u8] {
    if store.len() < bytes + ALIGNMENT {
        store.resize(bytes + ALIGNMENT, 0);
    }
    let from = store.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
    &mut store[from..from + bytes]
}

/// The thread: one job after the other, until nobody asks any more.
fn serve(file: &File, shape: Shape, jobs: &Receiver<Job>, answers: &Sender<io::Result<Vec<u8>>>) {
    let size = shape.sector_size as usize;
    let mut store = Vec::new();
    for job in jobs {
        let done = match job {
            Job::Read(sector, bytes) => {
                let buffer = aligned(&mut store, bytes);
                file.read_exact_at(buffer, sector * u64::from(shape.sector_size))
                    .map(|()| buffer.to_vec())
            }
            Job::Write(_, bytes) if bytes.is_empty() || !bytes.len().is_multiple_of(size) => {
                Err(io::Error::other(format!("{} bytes are no sector", bytes.len())))
            }
            Job::Write(sector, bytes) => {
                let buffer = aligned(&mut store, bytes.len());
                buffer.copy_from_slice(&bytes);
                file.write_all_at(buffer, sector * u64::from(shape.sector_size))
                    .map(|()| Vec::new())
            }
        };
        if answers.send(done).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_a_disk_of_small_sectors() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(4 * 512 + 100).unwrap();
        let mut disk = Disk::open(file.path(), IO_TIMEOUT).unwrap();
        assert_eq!((disk.sector_size(), disk.sectors()), (512, 4));
        disk.write(2, &[7; 512]).unwrap();
        assert_eq!(disk.read(2).unwrap(), [7; 512]);
        assert_eq!(disk.read(1).unwrap(), [0; 512]);
        assert!(matches!(disk.read(9), Err(Error::Io { .. })));
        assert!(matches!(disk.write(1, &[1; 100]), Err(Error::Io { .. })));
        assert_eq!(disk.read(2).unwrap(), [7; 512], "an error leaves it usable");
    }

    #[test]
    fn what_is_no_disk_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        let open = |path: &Path| Disk::open(path, IO_TIMEOUT).map(drop);
        assert!(matches!(open(&missing), Err(Error::Open { .. })));
        assert!(matches!(open(dir.path()), Err(Error::NoDisk { .. })));
        assert!(matches!(open(Path::new("/dev/null")), Err(Error::NoDisk { .. })));
    }

    /// A disk whose thread is played by the test.
    fn played(timeout: Duration) -> (Disk, Receiver<Job>, Sender<io::Result<Vec<u8>>>) {
        let (jobs, queue) = channel();
        let (answer, answers) = channel();
        let shape = Shape {
            sector_size: 512,
            sectors: 8,
        };
        let disk = Disk {
            path: "/dev/played".into(),
            shape,
            timeout,
            jobs,
            answers,
            owed: 0,
        };
        (disk, queue, answer)
    }

    #[test]
    fn a_dead_disk_costs_its_deadline_and_a_late_answer_is_not_taken_for_the_next() {
        let (mut disk, queue, answer) = played(Duration::from_millis(20));
        assert!(matches!(disk.read(1), Err(Error::Timeout { .. })));
        assert!(matches!(disk.read(2), Err(Error::Timeout { .. })));
        assert_eq!(
            queue.try_iter().count(),
            1,
            "nothing is asked of a disk that owes an answer"
        );
        answer.send(Ok(vec![1; 512])).unwrap();
        answer.send(Ok(vec![3; 512])).unwrap();
        assert_eq!(disk.read(3).unwrap(), [3; 512]);
    }

    #[test]
    fn a_thread_that_ended_is_an_error() {
        let (mut disk, queue, answer) = played(IO_TIMEOUT);
        drop((queue, answer));
        assert!(matches!(disk.read(1), Err(Error::Io { .. })));
    }
}
