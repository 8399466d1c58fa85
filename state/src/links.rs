//! Symbolic links that stay inside a state, and those that leave it.

use longhaul_core::item::ItemName;

/// What becomes of symbolic links that lead out of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum LinksPolicy {
    /// They are refused by name: at the joiner they would lead somewhere else.
    #[default]
    Refuse,
    /// They are kept as they are, byte by byte.
    Keep,
}

/// Whether the link `name` with this `target` leads out of the state: it is absolute, or climbs
/// above the root. Judged by the letters alone; whether something is at the target doesn't matter.
#[must_use]
pub fn leads_out(name: ItemName<'_>, target: &[u8]) -> bool {
    if target.first() == Some(&b'/') {
        return true;
    }
    let mut depth = name.parts().count().saturating_sub(1);
    for part in target.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => match depth.checked_sub(1) {
                Some(above) => depth = above,
                None => return true,
            },
            _ => depth += 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leaves_if_it_is_absolute_or_climbs_above_the_root() {
        for (name, target, leaves) in [
            ("a", "/etc/passwd", true),
            ("a", "..", true),
            ("a", "b/../..", true),
            ("d/a", "../../b", true),
            ("d/a", "..", false),
            ("d/a", "../b", false),
            ("a", "nowhere", false),
            ("a", "./b//c/..", false),
            ("d/e/a", "../../x/../y", false),
        ] {
            let name = ItemName::parse(name.as_bytes()).unwrap();
            assert_eq!(leads_out(name, target.as_bytes()), leaves, "{name} -> {target}");
        }
    }
}
