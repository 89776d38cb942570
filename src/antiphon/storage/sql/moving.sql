-- What is set aside when its service moves to another broker.

-- name: set_aside_of
select number, id, handler, partition, position, message
from antiphon_set_aside join antiphon_set_aside_bodies on item = number
where consumer_group = ?1 and topic = ?2 order by number;

-- name: move
update antiphon_set_aside set id = ?2, partition = ?3, position = ?4 where number = ?1;

-- name: rename_in_changes
update antiphon_letter_changes set letter = ?2 where letter = ?1;
