select 1 as id, 2 * 3 as total
