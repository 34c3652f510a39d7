//! A mailbox: one order for its node, and who gave it.

use std::fmt;
use std::str::FromStr;

use super::{Damage, USED_BYTES, long_enough, read_name, write_name};

/// An order in a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Nothing is asked.
    Clear,
    /// Answer by clearing the mailbox.
    Test,
    /// Reset the machine at once.
    Reset,
    /// Switch the machine off at once.
    Off,
    /// End the watcher.
    Exit,
    /// Panic, so that a crash dump is taken.
    Crashdump,
    /// None that is known: a write that was cut short, or a newer SBD.
    Unknown(i8),
}

impl Command {
    /// The commands by number, with the words that SBD's command line uses.
    const WORDS: [(Command, &'static str); 6] = [
        (Command::Clear, "clear"),
        (Command::Test, "test"),
        (Command::Reset, "reset"),
        (Command::Off, "off"),
        (Command::Exit, "exit"),
        (Command::Crashdump, "crashdump"),
    ];

    /// From the byte on the disk.
    #[must_use]
    pub fn from_code(code: i8) -> Command {
        usize::try_from(code)
            .ok()
            .and_then(|index| Command::WORDS.get(index))
            .map_or(Command::Unknown(code), |(command, _)| *command)
    }

    /// The byte on the disk.
    #[must_use]
    pub fn code(self) -> i8 {
        match self {
            Command::Clear => 0,
            Command::Test => 1,
            Command::Reset => 2,
            Command::Off => 3,
            Command::Exit => 4,
            Command::Crashdump => 5,
            Command::Unknown(code) => code,
        }
    }

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        let found = Command::WORDS.iter().find(|(command, _)| *command == self);
        found.map_or("undefined", |(_, word)| word)
    }

    /// True for what ends the node.
    #[must_use]
    pub fn ends_the_node(self) -> bool {
        matches!(self, Command::Reset | Command::Off | Command::Crashdump)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Command {
    type Err = String;
    fn from_str(word: &str) -> Result<Command, String> {
        let found = Command::WORDS.iter().find(|(_, known)| *known == word);
        found.map(|(command, _)| *command).ok_or_else(|| {
            let known: Vec<_> = Command::WORDS.iter().map(|(_, word)| *word).collect();
            format!("there is no such message; one of {}", known.join(", "))
        })
    }
}

/// What is in a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The order.
    pub command: Command,
    /// Who wrote it, without control characters.
    pub from: String,
}

impl Mail {
    /// An empty mailbox.
    #[must_use]
    pub fn empty() -> Mail {
        Mail {
            command: Command::Clear,
            from: String::new(),
        }
    }

    /// Reads a mailbox's sector.
    ///
    /// # Errors
    /// When the sector is cut short.
    pub fn read(sector: &[u8]) -> Result<Mail, Damage> {
        long_enough(sector)?;
        Ok(Mail {
            command: Command::from_code(sector[0].cast_signed()),
            from: read_name(sector),
        })
    }

    /// The sector of `sector_size` bytes that it is written as.
    #[must_use]
    pub fn sector(&self, sector_size: u32) -> Vec<u8> {
        let mut sector = vec![0; (sector_size as usize).max(USED_BYTES)];
        sector[0] = self.command.code().cast_unsigned();
        write_name(&mut sector, &self.from);
        sector
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_of_debians_sbd_is_read_and_written_the_same() {
        let mut real = b"\x01vm".to_vec();
        real.resize(512, 0);
        let mail = Mail::read(&real).unwrap();
        assert_eq!((mail.command, mail.from.as_str()), (Command::Test, "vm"));
        assert_eq!(mail.sector(512), real);
        assert_eq!(Mail::read(&[0; 512]), Ok(Mail::empty()));
    }

    #[test]
    fn every_byte_is_some_command_and_every_word_is_one() {
        for code in i8::MIN..=i8::MAX {
            let command = Command::from_code(code);
            assert_eq!(command.code(), code);
            assert_eq!(command.word() == "undefined", !(0..=5).contains(&code));
            if let Ok(read) = command.word().parse::<Command>() {
                assert_eq!(read, command);
            }
        }
        assert!("Reset".parse::<Command>().unwrap_err().contains("reset"));
    }

    #[test]
    fn only_three_orders_end_a_node() {
        let ending: Vec<_> = (i8::MIN..=i8::MAX)
            .map(Command::from_code)
            .filter(|command| command.ends_the_node())
            .collect();
        assert_eq!(ending, [Command::Reset, Command::Off, Command::Crashdump]);
    }
}
